#!/usr/bin/env python3
"""The program's clients against a real redis-server: cli_redis.py SYNOD SAMPLE. Prints "ok name" or "not ok name" a case."""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

SYNOD, SAMPLE = sys.argv[1], sys.argv[2]
SKIP = 77
failed = False


def case(name, good, detail=""):
    global failed
    print(f"{'ok' if good else 'not ok'} {name}")
    if not good:
        failed = True
        print("   ", detail)


def synod(*words, timeout=60):
    return subprocess.run([SYNOD, *words], capture_output=True, text=True, timeout=timeout, check=False)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def redis(port, *words):
    return subprocess.run(["redis-cli", "-p", str(port), *words], capture_output=True, text=True, check=False).stdout.strip()


def check_usage():
    for words, status in ((["nonsense"], 2), ([], 2), (["server"], 2), (["cluster", "kill"], 2), (["help"], 0),
                          (["version"], 0), (["server", "--help"], 0), (["status", "--at", "127.0.0.1:1"], 1),
                          (["cluster", "down", "--dir", "/nonexistent"], 1)):
        done = synod(*words)
        one_line = status == 0 or len(done.stderr.strip().splitlines()) == 1
        case(f"exit status {status} of synod {' '.join(words)}", done.returncode == status and one_line, done)


def check_against_redis(port):
    at = f"127.0.0.1:{port}"
    done = synod("demo", "--at", at, "--file", SAMPLE)
    case("the demo loads and reads back all records", done.returncode == 0 and "0 missing, 0 different" in done.stdout, done)
    case("each record is one key", redis(port, "dbsize") == "300", redis(port, "dbsize"))
    with open(SAMPLE, encoding="utf-8") as sample:
        field = [line for line in sample.read().split("Package: bash\n")[1].split("\n\n")[0].splitlines()
                 if line.startswith("Version: ")][0]
    case("fields are as in the record", redis(port, "hget", "pkg:bash", "Version") == field[len("Version: "):])

    done = synod("bench", "--at", at, "--json", "--ms", "500", "--warmup-ms", "0", "--pipeline", "7", "--mix",
                 "set=2,get=1,hset=1,hget=1,incr=1,ping=1,transfer=1", "--zipf", "0.99")
    told = json.loads(done.stdout)
    case("the load generator speaks every operation of its mix", told["ops"] > 1000 and told["errors"] == {}, done)
    done = synod("bench", "--at", at, "--fill", "--keys", "1234", "--prefix", "fill:")
    count = redis(port, "eval", "return #redis.call('keys', 'fill:*')", "0")
    case("a fill writes each key once", done.returncode == 0 and count == "1234", (done, count))

    redis(port, "config", "set", "maxmemory", "1")
    done = synod("bench", "--at", at, "--json", "--ms", "300", "--warmup-ms", "0", "--mix", "set")
    case("errors are counted by their kind, and are no operations", done.returncode == 1 and
         json.loads(done.stdout)["ops"] == 0 and json.loads(done.stdout)["errors"].get("OOM", 0) > 0, done)
    done = synod("demo", "--at", at, "--file", SAMPLE)
    case("the demo fails when a write is refused for good", done.returncode == 1 and "OOM" in done.stderr, done)
    case("a server that is no synod is told apart", synod("status", "--at", at).returncode == 1)


def main():
    check_usage()
    if not shutil.which("redis-server") or not shutil.which("redis-cli"):
        return 1 if failed else SKIP
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory],
                                  stdout=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 20
            while redis(port, "ping") != "PONG" and time.monotonic() < end:
                time.sleep(0.02)
            check_against_redis(port)
        finally:
            server.kill()
            server.wait()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
