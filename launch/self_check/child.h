// Checks in a process of their own, which is this program once more: what hangs on a GPU can be
// ended only with its process, and an illegal access leaves a process nothing to go on with.
#pragma once
#include <string>
#include <vector>

#include "launch/self_check/finding.h"
#include "ops/self_check/kernel_checks.h"
#include "train/config.h"

namespace elastron::launch::self_check {

// What the kernels are used for by a run. Nothing for float64, which GPUs are not given.
std::optional<ops::KernelUse> kernel_use(const train::Config& config, bool trains);

struct ChildTask {
  const train::Config* config = nullptr;  // the child reads the same
  bool trains = false;
  int gpu = 0;  // its number among those that are visible
  // The most that a check may take, and the start of the process.
  double seconds = 30;
};

// Runs checks[i] for the i in `wanted`, in this order. One that ends its process or does not end is
// found so, and the others go on in a new process.
Findings check_in_child(const ChildTask& task, const std::vector<ops::KernelCheck>& checks,
                        std::vector<size_t> wanted);

// The child's side: whether these are a child's arguments, and its whole life.
bool is_child(int argc, char** argv);
int child_main(int argc, char** argv);

}  // namespace elastron::launch::self_check
