// Finds what started this rank: Open MPI's mpirun, or its daemon on this machine.
#pragma once
#include <chrono>

namespace elastron::parallel {

// After an abort Open MPI's launcher and daemons wait for each other, for a quarter of an hour
// where the network between them is gone. Leaves a process behind that kills this rank's launcher
// if it is still there after `patience`, and otherwise ends with it. Does nothing where the parent
// process is another one (a scheduler's, a shell). From any thread.
void end_launcher_if_it_hangs(std::chrono::seconds patience) noexcept;

}  // namespace elastron::parallel
