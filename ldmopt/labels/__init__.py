"""Labels: what people said about pictures, the append-only store of it, and its CSV layouts."""

from ldmopt.labels.exchange import Imported, export_csv, import_csv, take_in
from ldmopt.labels.records import (
    KINDS,
    OUTCOMES,
    Keep,
    Label,
    Labels,
    Outcome,
    Pair,
    Rating,
    counting,
    repeated,
)
from ldmopt.labels.store import LabelStore

__all__ = [
    "KINDS", "OUTCOMES", "Imported", "Keep", "Label", "LabelStore", "Labels", "Outcome", "Pair",
    "Rating", "counting", "export_csv", "import_csv", "repeated", "take_in",
]
