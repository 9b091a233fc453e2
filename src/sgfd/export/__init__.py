"""Distilled features out of the library, for whatever reads them next.

``save_features`` writes one ``.npy`` per modality, named as a toolbox looks for them;
``save_safetensors`` one file with all of them (extra ``export``).
"""

from sgfd.export._arrays import MMREC as MMREC
from sgfd.export._arrays import SGFD as SGFD
from sgfd.export._arrays import save_features as save_features
from sgfd.export._safetensors import save_safetensors as save_safetensors
