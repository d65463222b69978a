#include "tests/support/cuda_emulator/faults.h"

#include <emulated_math.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>

namespace elastron::emulator {

namespace {

constexpr const char* kFaulty[] = {"hopper",   "mma",     "mma-gradients", "plain",
                                   "products", "library", "gradients"};
constexpr const char* kFaults[] = {"mask", "tile", "stale", "hang"};

// Of a kernel.
bool hopper = false;
unsigned events = 0;

std::string& asked() {
  static std::string text = [] {
    const char* value = std::getenv("ELASTRON_EMULATED_FAULT");
    return std::string(value != nullptr ? value : "");
  }();
  return text;
}

}  // namespace

void plant(const std::string& fault) { asked() = fault; }

bool planted(Faulty who, Fault what) {
  return !asked().empty() &&
         asked() == std::string(kFaulty[size_t(who)]) + ":" + kFaults[size_t(what)];
}

bool goes_wrong(Faulty who, Fault what) { return planted(who, what) && ++events % 16 >= 13; }

void hang_if_planted(Faulty who) {
  while (planted(who, Fault::hang)) pause();
}

void faults_kernel_begins() {
  hopper = false;
  events = 0;
}

void faults_hopper_kernel() { hopper = true; }

float exp2(float x) {
  constexpr float kMasked = -std::numeric_limits<float>::infinity();
  if (x == kMasked && planted(hopper ? Faulty::hopper : Faulty::mma, Fault::mask)) return 0.25f;
  return exp2f(x);
}

// Of the backward kernels with mma, which put no -inf in the place of a masked score.
float where_seen(bool seen, float x) {
  const bool counts =
      seen || planted(Faulty::mma, Fault::mask) || planted(Faulty::mma_gradients, Fault::mask);
  return counts ? x : 0.0f;
}

}  // namespace elastron::emulator
