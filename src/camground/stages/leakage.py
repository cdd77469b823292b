"""Stage `leakage`: see `camground.data.readers.leakage`."""

from camground.data.readers.leakage import main
from camground.study import stage

if __name__ == "__main__":
    stage.run("leakage", main)
