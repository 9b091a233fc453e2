"""The interaction graph and the sparse kernels that walk it."""

from sgfd.graph._backend import Backend as Backend
from sgfd.graph._backend import backend as backend
from sgfd.graph._backend import use_backend as use_backend
from sgfd.graph._bipartite import Bipartite as Bipartite
from sgfd.graph._propagate import propagate as propagate
