import pytest

from ldmopt.testing import open_worker


@pytest.fixture(scope="session")
def miniature():
    """A worker whose pipeline the tests of knobs share: each leaves it as it was."""
    return open_worker("miniature")


@pytest.fixture(scope="session")
def family(tmp_path_factory):
    """Return a worker on a random-weight pipeline of a family's shape, shrunk; made once each."""
    from ldmopt.shapes import build

    workers = {}

    def worker(shape):
        if shape not in workers:
            folder = tmp_path_factory.mktemp(shape)
            build(shape, folder, shrink=True, precision="float32")
            workers[shape] = open_worker(str(folder))
        return workers[shape]

    return worker
