"""Files and requests from strangers, changed at random: read or refused as the contract says, with one line, within
limits of time and memory, and never a crash."""
import json
import os
import re
import shutil
import socket

import mutation
from program import name_of, settings, last_line

NAME = "hostile"
WEIGHT = 3
KINDS = ("model", "yaml", "jsonl", "packed", "http")
INPUTS = {"model": 8, "yaml": 8, "jsonl": 8, "packed": 4, "http": 60}
MOST_MIB = 2048
CPU_SECONDS = 60
CONFIGURATION_LINES = 21  # docs/troubleshooting.md: the first 20 faults, and how many more


def cases(_results):
    return None


def run(case):
    kind = KINDS[case.number % len(KINDS)]
    case.note = kind
    if kind == "http":
        requests(case)
        return
    for number in range(INPUTS[kind]):
        what = f"{kind}, input {number + 1}"
        {"model": model, "yaml": yaml, "jsonl": jsonl, "packed": packed}[kind](case, what)
        case.count(kind)
        if case.faults:
            return


def expect_contract(case, arguments, what, codes, most_lines=1):
    outcome = case.program.run(arguments, cpu_seconds=CPU_SECONDS)
    fault = outcome.fault_of_contract(codes, most_lines)
    case.expect(not fault, f"{what}: {fault}")
    case.expect(outcome.peak_mib < MOST_MIB, f"{what}: it took {outcome.peak_mib:.0f} MiB")
    case.count("refused" if outcome.code else "taken")
    return outcome


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)
    return path


def model(case, what):
    """One file of a model folder."""
    folder = case.path("model")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(case.program.backbone(), folder)
    name = case.random.choice(["config.json", "config.json", "tokenizer.json", "model.safetensors"])
    data = read(os.path.join(folder, name))
    if name.endswith(".json"):
        data = mutation.of_text(case.random, data, is_json=True)
    else:  # mostly its header, whose length and JSON are the first bytes
        size = 8 + int.from_bytes(data[:8], "little") if case.random.random() < 0.8 else len(data)
        data = mutation.of_text(case.random, data[:size]) + data[size:]
    write(os.path.join(folder, name), data)
    outcome = expect_contract(case, ["generate", "--model", folder, "--ids", "[1, 2, 3]", "--max-tokens", 2, "--ignore-eos"],
                              f"{what} ({name})", (0, 2, 3, 5))
    if outcome.code == 0 and name == "tokenizer.json":
        expect_contract(case, ["generate", "--model", folder, "--prompt", "n1 n2 \u0130\U0001f4a9", "--max-tokens", 2],
                        f"{what} ({name}, a prompt)", (0, 2, 3, 5))


def yaml(case, what):
    name = case.random.choice(["configs/tiny/router.yaml", "tests/launch/reward.yaml", "tests/launch/pretrain.yaml",
                               "configs/reference.yaml", "configs/qwen3-8b.yaml"])
    data = read(os.path.join(case.program.source, name))
    path = write(case.path("config.yaml"), mutation.of_text(case.random, data))
    expect_contract(case, ["train", path, "--dump-config"], f"{what} ({name})", (0, 2, 3), CONFIGURATION_LINES)


def records(case):
    def make(folder):
        path = os.path.join(folder, "records.jsonl")
        case.program.done(["synthesize", "--out", path, "--length", 64, "--clearance", 24, "--records", 40])
        return path
    return case.program.once("hostile-records", make)


def pack(case, source, out):
    return ["pack", "--model", case.program.backbone(), "--in", source, "--out", out, "--max-tokens", 200,
            "--min-tokens", 1, "--threads", 1, "--label-mode", "answer"]


def jsonl(case, what):
    lines = read(records(case)).splitlines(keepends=True)
    for _ in range(case.random.choice([1, 1, 3])):
        at = case.random.randrange(len(lines))
        body = lines[at].rstrip(b"\n")
        try:
            lines[at] = mutation.of_text(case.random, body, is_json=True) + b"\n"
        except ValueError:  # an earlier change has made it no JSON
            lines[at] = mutation.of_bytes(case.random, body) + b"\n"
    source = write(case.path("records.jsonl"), b"".join(lines))
    out = case.path("packed.h5")
    outcome = expect_contract(case, pack(case, source, out), what, (0, 2, 3))
    case.expect(os.path.exists(out) == (outcome.code == 0), f"{what}: {name_of(outcome.code)}, and a file is there or is not")
    if os.path.exists(out):
        os.remove(out)


def packed(case, what):
    def make(folder):
        path = os.path.join(folder, "packed.h5")
        case.program.done(pack(case, records(case), path))
        return path
    path = write(case.path("packed.h5"), mutation.of_bytes(case.random, read(case.program.once("packed", make))))
    folder = case.path("run")
    shutil.rmtree(folder, ignore_errors=True)
    expect_contract(case, ["train", case.program.config("router"), *settings(**{
        "model.path": case.program.backbone(), "output.dir": folder, "train.steps": 1, "train.global_batch": 1,
        "train.micro_batch": 1, "data.format": "packed", "data.train": f"[{path}]", "data.eval": "[]"})],
                    what, (0, 2, 3))


# --- requests --------------------------------------------------------------------------------------------------------

BODIES = [
    ("POST", "/v1/completions", {"model": "tiny", "prompt": "n1 n2", "max_tokens": 2, "temperature": 0}),
    ("POST", "/v1/chat/completions", {"model": "tiny", "messages": [{"role": "user", "content": "n1"}], "max_tokens": 2}),
    ("POST", "/generate", {"prompt": "n1 n2", "max_tokens": 2}),
    ("GET", "/v1/models", None), ("GET", "/metrics", None), ("GET", "/health", None)]
GOOD = BODIES[0]


def request_of(method, path, body, host="127.0.0.1"):
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return head.encode() + (f"Content-Length: {len(data)}\r\n" if body is not None else "").encode() + b"\r\n" + data


def exchange(port, data, leaves=False, seconds=60):
    """-> all that comes back. `leaves`: the client closes its half first, as one that goes away does."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        try:
            connection.sendall(data)
            if leaves:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
        except (ConnectionResetError, BrokenPipeError):
            pass  # it may hang up on nonsense
    return answer


def status_of(answer):
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)
    return int(found.group(1)) if found else 0


def requests(case):
    model_folder = os.path.join(case.program.source, "configs/tiny/backbone")
    job = case.program.start(["serve", "--name", "tiny", "--port", 0, "--model", model_folder, "--max-length", 256,
                              "--receive-seconds", 1, "--answer-seconds", 60], case.path("log"))

    def port():
        with open(job.out_path, encoding="utf-8", errors="replace") as file:
            found = re.search(r"serving tiny on http://127.0.0.1:(\d+)\n", file.read())
        return int(found.group(1)) if found else 0

    if not case.expect(job.wait_until(port), f"the server does not start: {last_line(job.log())}"):
        return
    for number in range(INPUTS["http"]):
        method, path, body = case.random.choice(BODIES)
        if case.random.random() < 0.6 and body is not None:
            data = request_of(method, path, mutation.of_text(case.random, json.dumps(body).encode(), is_json=True))
        else:
            data = mutation.of_bytes(case.random, request_of(method, path, body))
        what = f"request {number + 1}, {data[:200]!r}"
        status = status_of(exchange(port(), data, leaves=case.random.random() < 0.1))
        case.count("http")
        case.count(f"answered {status // 100}xx" if status else "hung up on")
        case.expect(status < 500 or status == 503, f"{what}: answered {status}")
        if not case.expect(not job.ended(), f"{what}: the server ended: {last_line(job.log())}"):
            return
    good = status_of(exchange(port(), request_of(*GOOD)))
    case.expect(good == 200, f"a good request behind {INPUTS['http']} others is answered {good}")
    job.send(15, [job.process.pid])
    outcome = job.wait()
    case.expect(outcome.code == 0, f"TERM to the server: {name_of(outcome.code)}: {last_line(outcome.err)}")
    case.expect(outcome.peak_mib < MOST_MIB, f"the server took {outcome.peak_mib:.0f} MiB")
