#!/usr/bin/env python3
"""What ptxas made of the kernels for sm_90a, against the table of docs/attention-kernels.md.

machine_code_test.py docs/attention-kernels.md FILE [--print]

FILE is what was built: a library or an object file with uncompressed device code in it, or a .cubin. Reads the
instructions themselves (16 bytes each, the opcode in the lowest bits): no disassembler is needed. --print writes
the rows of the table.

Of each kernel, per way to go on over a tile (without a mask, on the diagonal, with another mask): the softmax
stands between the wait for the scores and the next wait, all of it, and nobody waits more often than the source
does, as where ptxas serialises products (C7510 and its like). Of the way without a mask: its products, and its
instructions, along the shortest way round the loop. No more is spilled than the table says, and registers are
handed over.
"""
import collections
import heapq
import pathlib
import re
import struct
import sys

# The lowest nine bits of an instruction; the three above say where its operands come from.
FMNMX, MUFU, HGMMA, WARPGROUP, BRA, EXIT, BRX = 0x009, 0x108, 0x1F0, 0x1C5, 0x147, 0x14D, 0x149
STL, LDL, USETMAXREG = 0x187, 0x183, 0x1C8
EX2 = 2  # of MUFU
ALWAYS = 7  # the predicate that holds

DEVICE_CODE = 190  # of an ELF file
WAYS = 3  # without a mask, on the diagonal, another mask
PATTERNS = [(re.compile(r"forward_hopper_kernelILi(\d+)ELb([01])E"), "forward"),
            (re.compile(r"dq_hopper_kernelILi(\d+)E"), "dq"),
            (re.compile(r"dkv_hopper_kernelILi(\d+)E"), "dk, dv")]


def name_of(symbol):
  for pattern, kernel in PATTERNS:
    found = pattern.search(symbol)
    if found:
      mode = ("apart" if found.group(2) == "1" else "nested") if kernel == "forward" else "-"
      return (kernel, int(found.group(1)), mode)
  return None


class Instruction:
  def __init__(self, low, high):
    self.low, self.high, self.operation = low, high, low & 0x1FF
    self.conditional = low >> 12 & 0xF != ALWAYS

  def is_exponential(self):
    return self.operation == MUFU and self.high >> 10 & 0xF == EX2

  def is_wait(self):  # for products: WARPGROUP.DEPBAR
    return self.operation == WARPGROUP and self.low >> 47 & 1 == 1

  def bytes(self):  # of a load or store
    return {4: 4, 5: 8, 6: 16}.get(self.high >> 9 & 7, 2)

  def may_leave(self):  # products under way
    return self.high >> 8 & 0x7

  def next(self, at):
    """Where the program goes on, in instructions."""
    if self.operation == BRX:
      raise ValueError("a branch to a place that is worked out: this reader knows none")
    if self.operation == EXIT:
      return [at + 1] if self.conditional else []
    if self.operation != BRA:
      return [at + 1]
    offset = self.low >> 16 & 0xFF | (self.low >> 34 | (self.high & 0x3FFFF) << 30) << 8
    offset -= (offset >> 55) << 56  # its sign
    to = at + 1 + offset * 4 // 16
    always = not self.conditional and self.high >> 23 & 0x1F == ALWAYS
    return [to] if always else [at + 1, to]


def functions(data, base):
  """The sections .text.SYMBOL of the ELF file that begins at `base`, as instructions."""
  at, = struct.unpack_from("<Q", data, base + 40)
  size, count, names = struct.unpack_from("<HHH", data, base + 58)
  sections = [struct.unpack_from("<IIQQQQ", data, base + at + i * size) for i in range(count)]
  for section in sections:
    start = base + sections[names][4] + section[0]
    name = data[start:data.index(b"\0", start)].decode()
    if name.startswith(".text.") and name_of(name):
      words = struct.unpack_from(f"<{section[5] // 8}Q", data, base + section[4])
      yield name_of(name), [Instruction(*pair) for pair in zip(words[::2], words[1::2])]


def kernels(path):
  """Those of PATTERNS in all device images of a file that have code of sm_90a."""
  data, base = path.read_bytes(), -1
  while (base := data.find(b"\x7fELF\x02", base + 1)) >= 0:
    if struct.unpack_from("<H", data, base + 18)[0] == DEVICE_CODE:
      for name, code in functions(data, base):
        if any(x.operation == HGMMA for x in code):
          yield name, code


def way_round(code, start):
  """The shortest way from an instruction to itself, or None."""
  best, heap, before = {}, [(0, start)], {}
  while heap:
    steps, at = heapq.heappop(heap)
    for to in code[at].next(at):
      if to == start:
        way = [at]
        while way[-1] != start:
          way.append(before[way[-1]])
        return [code[i] for i in reversed(way)]
      if to < len(code) and steps + 1 < best.get(to, len(code)):
        best[to], before[to] = steps + 1, at
        heapq.heappush(heap, (steps + 1, to))
  return None


Way = collections.namedtuple("Way", "maxima exponentials waits products instructions")


def ways_of(code):
  """Of each wait that leaves products under way, and is followed by exponentials before the next one."""
  ways = []
  for start, instruction in enumerate(code):
    if not (instruction.is_wait() and instruction.may_leave()):
      continue
    way = way_round(code, start)
    if way is None:
      continue
    beside = way[:next((i for i, x in enumerate(way) if i > 0 and x.is_wait()), len(way))]
    exponentials = sum(x.is_exponential() for x in beside)
    if exponentials > 0:
      ways.append(Way(sum(x.operation == FMNMX for x in beside), exponentials, sum(x.is_wait() for x in way),
                      sum(x.operation == HGMMA for x in way), len(way)))
  return sorted(ways, key=lambda way: way.instructions)


class Kernel:
  def __init__(self, code):
    self.ways = ways_of(code)
    self.exponentials = sum(x.is_exponential() for x in code)
    self.stores = sum(x.bytes() for x in code if x.operation == STL)
    self.loads = sum(x.bytes() for x in code if x.operation == LDL)
    self.handovers = sum(x.operation == USETMAXREG for x in code)

  def row(self, name):
    way = self.ways[0] if self.ways else Way(0, 0, 0, 0, 0)
    return (f"| {' | '.join(str(x) for x in name)} | {self.stores}, {self.loads} | {way.maxima}, "
            f"{way.exponentials} | {way.waits} | {way.products} | {way.instructions} |")


Row = collections.namedtuple("Row", "stores loads maxima exponentials waits products instructions")


def documented(page):
  """The table's rows: {(kernel, head_dim, mode): Row}."""
  rows = {}
  for line in page.read_text().splitlines():
    row = re.fullmatch(r"\| (forward|dq|dk, dv) \| (\d+) \| (\S+) \| (\d+), (\d+) \| (\d+), (\d+) \| (\d+) \| (\d+) "
                       r"\| (\d+) \|", line.strip())
    if row:
      rows[(row.group(1), int(row.group(2)), row.group(3))] = Row(*(int(x) for x in row.groups()[3:]))
  return rows


def faults_of(name, kernel, row):
  if len(kernel.ways) != WAYS:
    yield f"{len(kernel.ways)} ways to go on over a tile have exponentials between the waits, not {WAYS}"
  for way in kernel.ways:
    if way.maxima < row.maxima or way.exponentials < row.exponentials:
      yield (f"between the waits stand {way.maxima} maxima and {way.exponentials} exponentials, "
             f"not {row.maxima} and {row.exponentials}")
    if way.waits > row.waits:
      yield f"{way.waits} waits for products per tile, not {row.waits}: ptxas serialises them"
  # Forward, the first tile of keys and the one after a change of parts have nothing to run beside.
  alone = kernel.exponentials - sum(way.exponentials for way in kernel.ways)
  if alone > (2 * row.exponentials if name[0] == "forward" else 0):
    yield f"{alone} exponentials stand outside of the waits"
  if kernel.ways and kernel.ways[0].products != row.products:
    yield f"{kernel.ways[0].products} products per tile, not {row.products}"
  if kernel.ways and kernel.ways[0].instructions > row.instructions:
    yield f"{kernel.ways[0].instructions} instructions per unmasked tile, not at most {row.instructions}"
  if kernel.stores > row.stores or kernel.loads > row.loads:
    yield (f"{kernel.stores} bytes of spill stores and {kernel.loads} of loads, "
           f"not at most {row.stores} and {row.loads}")
  if kernel.handovers != 2:
    yield f"{kernel.handovers} instructions hand registers over, not 2"


def main():
  page, file = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
  found = {name: Kernel(code) for name, code in kernels(file)}
  if "--print" in sys.argv:
    for name, kernel in sorted(found.items()):
      print(kernel.row(name))
    return 0
  rows, faults = documented(page), []
  if not rows:
    faults.append(f"{page}: no table of kernels")
  for name in sorted(rows.keys() | found.keys()):
    what = f"{name[0]}, head_dim {name[1]}, {name[2]}"
    if name not in found:
      faults.append(f"{what}: there is no uncompressed code of it for sm_90a in {file}")
    elif name not in rows:
      faults.append(f"{what}: not in the table")
    else:
      faults += [f"{what}: {fault}" for fault in faults_of(name, found[name], rows[name])]
  for fault in faults:
    print("error:", fault)
  print(f"{len(found)} kernels, {len(faults)} faults")
  return 1 if faults else 0


sys.exit(main())
