"""Random changes of files that strangers give: of their bytes, and, of JSON and YAML, of what they say."""
import json
import re

# What breaks readers: edges of numbers, of text, of depth.
WORDS = [b"", b"null", b"NaN", b"-1", b"0", b"1e400", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808",
         b"4294967296", b"0.1", b"true", b"[]", b"{}", b"[[[[[[[[", b"\"", b"\\ud83d", b"\xff\xfe", b"\xc3", b"\x00", b"\r\n",
         b"%s%n", b"../../../etc/passwd", b"&a *a", b"!!binary x", b"- - - -", b": ", b"\xef\xbb\xbf", b"\xf0\x9f\x92\xa9"]
VALUES = [None, True, False, 0, -1, 1, 2 ** 31, 2 ** 63 - 1, 2 ** 64, -2 ** 63, 1e308, -0.0, 0.5, 1e-320, "", "x", "\u0130", "a" * 5000,
          [], {}, [[]], [None], {"": 1}, [1, "a"], [0] * 2000]


def of_bytes(random, data, most=6):
    """Some edits of bytes."""
    out = bytearray(data)
    for _ in range(random.randint(1, most)):
        size = len(out)
        at = random.randrange(size + 1)
        length = min(size - at, int(2 ** random.uniform(0, 8)))
        kind = random.randrange(7)
        if kind == 0 and at < size:
            out[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            del out[at:at + length]
        elif kind == 2:
            out[at:at] = out[at:at + length]
        elif kind == 3:
            out[at:at] = random.choice(WORDS)
        elif kind == 4:
            out[at:at + length] = random.choice(WORDS)
        elif kind == 5:
            out[at:at + length] = random.randbytes(length)
        elif kind == 6 and random.random() < 0.2:
            del out[at:]
    return bytes(out)


def of_numbers(random, data):
    """A number of a text becomes another one."""
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?(e[-+]?\d+)?", data))
    if not numbers:
        return of_bytes(random, data)
    chosen = random.choice(numbers)
    return data[:chosen.start()] + random.choice(WORDS[3:11]) + data[chosen.end():]


def places(value, found=None, holder=None, key=None):
    """Every value in a tree of JSON, as (holder, key)."""
    found = [] if found is None else found
    if holder is not None:
        found.append((holder, key))
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        if len(found) < 2000:
            places(item, found, value, name)
    return found


def of_json(random, data):
    """A value is replaced, taken out, or put elsewhere."""
    tree = json.loads(data)
    for _ in range(random.choice([1, 1, 1, 2, 5])):
        found = places(tree)
        if not found:
            break
        holder, key = random.choice(found)
        kind = random.randrange(4)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            other, name = random.choice(found)
            holder[key] = json.loads(json.dumps(other[name]))
        else:
            holder[key] = random.choice(VALUES)
    return json.dumps(tree).encode()


def of_text(random, data, is_json=False):
    """By one of the ways that fit."""
    ways = [of_bytes, of_numbers] + ([of_json, of_json] if is_json else [])
    return random.choice(ways)(random, data)
