"""A snapshot as plain clients read it: by its splits, from the nodes that are named for them."""
from harness import Err, expect


def ask(c, *words):
    """What some node answers; a snapshot may take some tries while leaders change."""
    reply = c.ask(*words)
    expect(not isinstance(reply, Err), f"{' '.join(map(str, words))} is answered", reply)
    return reply


def scan(c, name, split, addresses, count=7):
    """The records of one split, from the first node of those that have it."""
    said = None
    for address in addresses:
        node = next((n for n in c.nodes if f"{n.host}:{n.port}" == address.decode()), None)
        if not node or not node.alive():
            continue
        found, cursor = {}, b"0"
        while True:
            said = node.do("SNAPSHOT", "SCAN", name, split, cursor, "COUNT", count, "WITHVALUES")
            if isinstance(said, Err):
                break
            cursor, items = said
            for key, kind, value in zip(items[::3], items[1::3], items[2::3]):
                expect(key not in found, "each key once", key)
                found[key] = (kind, value)
            if cursor == b"0":
                return found
    raise AssertionError(f"nobody has split {split} of snapshot {name}: {said}")


def read(c, name, splits=12, count=7):
    """{key: (type, value)} of all of it."""
    found = {}
    for split, addresses in ask(c, "SNAPSHOT", "SPLITS", name, splits):
        part = scan(c, name, split, addresses, count)
        expect(not found.keys() & part.keys(), "splits do not overlap")
        found.update(part)
    return found
