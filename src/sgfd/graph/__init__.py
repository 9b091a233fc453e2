"""The interaction graph and the sparse kernels that walk it."""

from sgfd.graph._backend import Backend as Backend
from sgfd.graph._backend import backend as backend
from sgfd.graph._backend import use_backend as use_backend
from sgfd.graph._bipartite import Bipartite as Bipartite
from sgfd.graph._bipartite import Edges as Edges
from sgfd.graph._factors import dropout_edges as dropout_edges
from sgfd.graph._factors import mask_edges as mask_edges
from sgfd.graph._message import edge_softmax as edge_softmax
from sgfd.graph._message import propagate as propagate
from sgfd.graph._message import sddmm as sddmm
from sgfd.graph._message import spmm as spmm
from sgfd.graph._neighbors import NeighborBatch as NeighborBatch
from sgfd.graph._neighbors import NeighborSampler as NeighborSampler
