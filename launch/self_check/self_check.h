// The start-up check of a GPU's kernels (device.self_check): what a run will use is compared with
// the plain kernels, and these with the CPU, in a child process; what disagrees is not used; results
// are kept for the GPU model, driver and build. docs/gpu.md says it for users.
#pragma once
#include <set>
#include <string>

#include "core/device.h"
#include "launch/self_check/finding.h"
#include "parallel/communicator.h"
#include "train/config.h"

namespace elastron::launch {

class SelfCheck {
 public:
  // `everyone`, the world, and the device must outlive it.
  SelfCheck(parallel::Communicator& everyone, Device& device)
      : everyone_(everyone), device_(device) {}

  // Collective. Checks what a run of this configuration uses and was not checked before, forbids
  // the device what disagrees, the same on all ranks, and warns of each once. Throws a
  // NumericalError on all where plain kernels disagree with the CPU.
  void check(const train::Config& config, bool trains);

  // The most that one check may take: $ELASTRON_SELF_CHECK_SECONDS, or 30.
  static double seconds_of_a_check();
  // Something else was checked and is right: "NCCL 2.28.9".
  void note(const std::string& what) { others_ += ", " + what + " agrees with the host"; }

  // What was checked or known so far, in words; empty where nothing was to check.
  std::string summary() const;

 private:
  void act_on(const self_check::Findings& findings);

  parallel::Communicator& everyone_;
  Device& device_;
  std::set<std::string> known_;  // checks whose findings were acted upon
  int checked_ = 0, remembered_ = 0, forbidden_ = 0;
  double seconds_ = 0;
  std::string kept_in_, others_;
};

}  // namespace elastron::launch
