"""Programs and libraries of others that tests with clients need."""
import filecmp
import os
import shutil
import tempfile

from harness import Skip, run

HERE = os.path.dirname(os.path.abspath(__file__))
NPM = os.path.join(os.path.dirname(HERE), "clients")


def tool(name):
    if not shutil.which(name):
        raise Skip(f"{name} is not installed")
    return name


def npm_folder(env):
    """Where the libraries are; installs them on first use, exactly the versions of the lock file."""
    tool("node"), tool("npm")
    where = env.options.node_modules or os.path.join(tempfile.gettempdir(), f"synod-npm-{os.getpid()}")
    os.makedirs(where, exist_ok=True)
    lock = os.path.join(where, "package-lock.json")
    fresh = not os.path.exists(os.path.join(where, "complete")) or not filecmp.cmp(os.path.join(NPM, "package-lock.json"), lock, shallow=False)
    for name in ("package.json", "package-lock.json", "common.js", "ioredis.js", "node-redis.js", "writer.js"):
        shutil.copy(os.path.join(NPM, name), where)
    if not env.options.node_modules:
        env.cleanup(lambda: shutil.rmtree(where, ignore_errors=True))
    if fresh:
        done = run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1", "--fetch-timeout=20000"], timeout=50, cwd=where)
        if done.returncode != 0:
            raise Skip("npm cannot install the libraries: " + " ".join(done.stderr.split())[-200:])
        with open(os.path.join(where, "complete"), "w", encoding="ascii"):
            pass
    return where
