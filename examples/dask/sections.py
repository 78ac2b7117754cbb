#!/usr/bin/python3
"""What is in a package index that lies in synod as hashes pkg:NAME (`synod demo` loads one): packages and sizes by section, and
which packages most others need. Dask's worker processes read a snapshot in parallel, each split from a node that has it."""
import argparse
import json
import re
import sys
from collections import Counter

try:
    from distributed import Client, LocalCluster, as_completed
    from snapshot import Snapshot, Trouble, records
except ImportError as missing:
    sys.exit(f"sections.py: {missing}; apt-get install python3-distributed python3-redis")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


def needed_by(package, field):
    """Names in a list such as "libc6 (>= 2.36), exim4 | postfix": each once, and of alternatives the first."""
    return {m.group() for part in package.get(field, "").split(",") if (m := NAME.match(part.strip()))}


class Tally:
    """What is known of some packages; sums of tallies are tallies."""

    def __init__(self):
        self.packages, self.sizes, self.needed, self.fields, self.odd = Counter(), Counter(), Counter(), Counter(), Counter()

    def add(self, package, fields):
        section = package.get(fields["by"], "(none)")
        self.packages[section] += 1
        self.fields.update(f for f in set(fields.values()) if f in package)
        size = package.get(fields["sum"], "0")
        if size.isdecimal():
            self.sizes[section] += int(size)
        else:
            self.odd["sizes"] += 1
        self.needed.update(needed_by(package, fields["needs"]))

    def __iadd__(self, other):
        for name, counter in vars(other).items():
            getattr(self, name).update(counter)
        return self


def tally(split, name, match, fields):
    """One task: a split to its end."""
    done = Tally()
    for batch, who in records(name, *split, match):
        for _, kind, flat in batch:
            if kind != b"hash":
                done.odd["keys"] += 1
                continue
            words = [w.decode("utf-8", "replace") for w in flat]
            done.add(dict(zip(words[::2], words[1::2])), fields)
        done.odd["elsewhere"] += who != split[1][0]
    return done


def progress(done, splits):
    print(f"{done} of {len(splits)} splits", file=sys.stderr, flush=True)


def compute(snapshot, options, fields):
    splits = snapshot.splits(options.splits)
    total = Tally()
    progress(0, splits)
    # What is called the dashboard's address is that of an HTTP server which runs without one, too; unasked it listens everywhere.
    with LocalCluster(n_workers=options.workers, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0",
                      worker_dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False}, silence_logs=50) as cluster, Client(cluster) as client:
        tasks = client.map(tally, splits, name=snapshot.name, match=options.match, fields=fields, pure=False)
        for done, (_, part) in enumerate(as_completed(tasks, with_results=True), 1):
            total += part
            progress(done, splits)
    return total, len(splits)


def check(total, match, fields):
    if not total.packages:
        raise Trouble(f"no hash matches {match}; `synod demo` loads a package index")
    for field in fields.values():
        if field not in total.fields:
            raise Trouble(f"none of the {sum(total.packages.values())} hashes that match {match} has a field {field}")


def table(result):
    lines = [f"{'section':<28} {'packages':>9} {'size':>12}"]
    lines += [f"{name:<28} {count:>9} {size:>12}" for name, count, size in result["sections"]]
    lines += ["", f"{'needed most':<28} {'by':>9}"]
    lines += [f"{name:<28} {count:>9}" for name, count in result["needed"]]
    return "\n".join(lines)


def options_parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at", default="127.0.0.1:7001", metavar="HOST:PORT", help="any node (default: %(default)s)")
    parser.add_argument("--match", default="pkg:*", metavar="PATTERN", help="keys to read (default: %(default)s)")
    parser.add_argument("--snapshot", metavar="ID", help="read this one, and leave it; else one is made, and dropped at the end")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default: %(default)s)")
    parser.add_argument("--splits", type=int, default=32, metavar="N", help="about how many tasks (default: %(default)s)")
    parser.add_argument("--by", default="Section", metavar="FIELD", help="group by this (default: %(default)s)")
    parser.add_argument("--sum", default="Installed-Size", metavar="FIELD", help="add up this (default: %(default)s)")
    parser.add_argument("--needs", default="Depends", metavar="FIELD", help="count names in this (default: %(default)s)")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="how many of the needed (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one object instead of tables")
    options = parser.parse_args()
    if not re.fullmatch(r".+:\d{1,5}", options.at):
        parser.error(f"--at {options.at}: HOST:PORT is expected")
    if min(options.workers, options.splits, options.top) < 1:
        parser.error("--workers, --splits and --top are at least 1")
    return options


def main():
    options = options_parse()
    fields = {"by": options.by, "sum": options.sum, "needs": options.needs}
    with Snapshot(options.at, options.snapshot) as snapshot:
        total, splits = compute(snapshot, options, fields)
    check(total, options.match, fields)
    by_count = lambda counter: sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    result = {"snapshot": snapshot.name, "splits": splits, "sections": [(s, n, total.sizes[s]) for s, n in by_count(total.packages)],
              "needed": by_count(total.needed)[:options.top], "not_hashes": total.odd["keys"], "sizes_not_numbers": total.odd["sizes"],
              "answers_elsewhere": total.odd["elsewhere"]}
    print(json.dumps(result) if options.json else table(result))


if __name__ == "__main__":
    try:
        main()
    except Trouble as trouble:
        sys.exit(f"sections.py: {trouble}")
