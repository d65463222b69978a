// What this program reads and writes by position, and sends to the disk: the C library's functions,
// counted.
#pragma once
#include <cstdint>

namespace elastron::test {

struct IoCounts {
  uint64_t read = 0, largest_read = 0;
  uint64_t written = 0, largest_write = 0;
  uint64_t waited_for = 0;  // bytes that were to be on the disk before it went on
  bool disk_fails = false;  // what is sent to it
};
IoCounts& io_counts();

}  // namespace elastron::test
