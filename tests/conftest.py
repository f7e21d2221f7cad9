"""Import Lightning before anything else, as the command line does."""

# typing caches Optional[Union[...]] whatever the order of its members: where another package has asked for "float or
# int" before, Lightning's "int or float" becomes that, and jsonargparse reads `limit_predict_batches: 1` as 1.0: all.
import pytorch_lightning  # noqa: F401
