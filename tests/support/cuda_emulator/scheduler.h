// How the emulator's parts have threads wait, and things happen beside them.
#pragma once
#include <cuda.h>

#include <functional>
#include <string>

namespace elastron::emulator {

[[noreturn]] void die(const char* what);

// The running thread goes on once `ready` holds.
void wait_until(std::function<bool()> ready);
// Done at once or at any later time, before the block ends: in no order that a kernel could count
// on, but the same on every run.
void later(std::function<void()> event);

// hopper.cpp: state of a block.
void hopper_block_begins(unsigned warps);
void hopper_block_ends();
// The mbarriers that threads wait at, by name, and how many at each: "" if there are none.
std::string barriers_waited_for();

}  // namespace elastron::emulator
