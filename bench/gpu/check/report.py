"""What a check has found, kept after every step: one JSON file, and one archive of logs."""
import json
import os
import tarfile

LOG_BYTES = 256 << 10  # of each log its end


class Report:
    def __init__(self, folder, gpu, commit, work):
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(folder, f"{gpu}-{commit}")
        self.logs, self.figures = os.path.join(work, "logs"), os.path.join(work, "figures")
        os.makedirs(self.logs, exist_ok=True)
        os.makedirs(self.figures, exist_ok=True)
        self.content = {"gpu": gpu, "commit": commit, "finished": False, "checks": {}, "left_out": {},
                        "figures": {}}

    def log(self, name):
        return os.path.join(self.logs, name.replace(" ", "_").replace("/", "-") + ".log")

    def figure(self, name):
        """Where a program leaves figures."""
        return os.path.join(self.figures, name + ".json")

    def add(self, part, name, why, seconds):
        result = f"failed ({why})" if why else "passed"
        self.content["checks"][name] = {"part": part, "result": result,
                                        "milliseconds": round(1000 * seconds)}
        print(f"{part} {name}: {result}, {seconds:.1f} s", flush=True)
        self.save()

    def leave_out(self, name, why):
        self.content["left_out"][name] = why
        print(f"- {name}: left out, {why}", flush=True)
        self.save()

    def failed(self):
        return [n for n, c in self.content["checks"].items() if c["result"] != "passed"]

    def save(self):
        for file in sorted(os.listdir(self.figures)):
            try:
                with open(os.path.join(self.figures, file)) as figures:
                    self.content["figures"][file[:-5]] = json.load(figures)
            except ValueError:
                pass  # it was ended while it wrote: what was read before stays
        with open(self.path + ".json.part", "w") as out:
            json.dump(self.content, out, indent=1)
            out.write("\n")
        os.replace(self.path + ".json.part", self.path + ".json")

    def pack(self):
        """The logs, of long ones the end."""
        part = self.path + "-logs.tar.gz.part"
        with tarfile.open(part, "w:gz") as archive:
            for name in sorted(os.listdir(self.logs)):
                with open(os.path.join(self.logs, name), "rb") as log:
                    log.seek(max(os.path.getsize(log.name) - LOG_BYTES, 0))
                    info = tarfile.TarInfo(name)
                    start = log.tell()
                    info.size = min(os.path.getsize(log.name) - start, LOG_BYTES)
                    archive.addfile(info, log)
        os.replace(part, self.path + "-logs.tar.gz")
