// Which pieces of work of several streams come before which, by vector clocks, and what each of
// them touched: so that a use that no event orders after another one shows, although the emulator
// does everything at once and in the order it is asked to.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace elastron::emulator {

// What a piece of work is, for messages: a literal, or else a kernel's function.
struct Name {
  const char* text = nullptr;
  const void* kernel = nullptr;

  std::string str() const;
};

// A piece of work of a stream: the time-th one; 0 comes before everything.
struct Moment {
  int stream = 0;
  uint64_t time = 0;
  Name name = {};
};

// By stream: how much of its work comes before. A stream has a clock, an event that of the stream
// it was recorded on, and the host that of what it has waited for.
class Clock {
 public:
  void join(const Clock& other);
  // The next piece of work of `stream`, whose clock this is.
  Moment next(int stream, const Name& name);
  bool has_seen(const Moment& moment) const;

 private:
  std::vector<uint64_t> times_;
};

enum class Access : uint8_t { read, write };

// What was done last to each byte of a block of memory.
class History {
 public:
  // All of it was written by `made`.
  History(uintptr_t begin, size_t bytes, const Moment& made);

  // Notes that `moment`, which comes after what `clock` has seen, touched the bytes. Returns what
  // is wrong with that, or an empty text: a read or a write must come after the last write, and a
  // write after all reads since then too.
  std::string touch(uintptr_t begin, size_t bytes, Access access, const Moment& moment,
                    const Clock& clock);
  // The same of what the host does, of which nothing is noted: all that it asks for later comes
  // after it anyway.
  std::string host_touch(uintptr_t address, Access access, const Clock& host) const;

 private:
  struct Cell {
    uintptr_t end = 0;
    Moment write;
    std::vector<Moment> reads;  // since the write, the last one of each stream
  };
  void split_at(uintptr_t address);
  static std::string fault(const Cell& cell, Access access, const Moment& moment,
                           const Clock& clock);

  uintptr_t begin_;
  std::map<uintptr_t, Cell> cells_;  // by where they begin; without gaps
};

}  // namespace elastron::emulator
