"""What training has made, out of the library, for whatever reads it next.

``save_features`` writes one ``.npy`` of distilled features per modality, named as a toolbox looks
for them; ``save_safetensors`` one file with all of them. ``save_vectors`` writes vectors of users
and items beside the features, with a card of shapes and checksums, and ``load_vectors`` reads them
back; ``build_index`` makes nearest neighbors of them, and ``top_items`` ranks all items for many
users. ``save_onnx`` writes the students. Of a catalog that does not fit in memory,
``stream_features`` writes the features as it reads, and ``join_features`` joins what several
workers wrote. All but the ``.npy`` files and ``top_items`` need the extra ``export``.
"""

from sgfd._top_items import top_items as top_items
from sgfd.export._arrays import MMREC as MMREC
from sgfd.export._arrays import SGFD as SGFD
from sgfd.export._arrays import save_features as save_features
from sgfd.export._index import Neighbors as Neighbors
from sgfd.export._index import build_index as build_index
from sgfd.export._index import nearest as nearest
from sgfd.export._index_file import load_index as load_index
from sgfd.export._index_file import save_index as save_index
from sgfd.export._load import SavedVectors as SavedVectors
from sgfd.export._load import load_vectors as load_vectors
from sgfd.export._onnx import save_onnx as save_onnx
from sgfd.export._parts import join_features as join_features
from sgfd.export._safetensors import save_safetensors as save_safetensors
from sgfd.export._stream import stream_features as stream_features
from sgfd.export._vectors import save_vectors as save_vectors
