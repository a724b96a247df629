from pathlib import Path

from accelerate.tracking import GeneralTracker


class Csv(GeneralTracker):  # a line for every number
    name, requires_logging_directory = "csv", True

    def __init__(self, run_name, logging_dir):
        super().__init__()
        self.path = Path(logging_dir, f"{run_name}.csv")

    @property
    def tracker(self):
        return self.file

    def start(self):
        self.file = self.path.open("a")

    def log(self, values, step=None, **options):
        for name, value in values.items():
            print(step, name, value, sep=",", file=self.file, flush=True)

    def finish(self):
        self.file.close()
