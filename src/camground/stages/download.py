"""Stage `download`: see `camground.data.download.fetch`."""

from camground.data.download.fetch import main
from camground.study import stage

if __name__ == "__main__":
    stage.run("download", main)
