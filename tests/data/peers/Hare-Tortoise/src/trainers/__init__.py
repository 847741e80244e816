from types import SimpleNamespace


class DotMap(SimpleNamespace):
    """Stands for the package that has such a class."""

    def __init__(self, values):
        super().__init__(hare_tortoise=SimpleNamespace(reset_every=-1), **values)

    def update(self, **values):
        vars(self).update(values)


class OmegaConf:
    @staticmethod
    def load(path):
        return path.read_text()

    @staticmethod
    def to_container(text):
        return dict(line.split(": ") for line in text.splitlines())
