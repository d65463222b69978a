// What a check keeps a device from using, so that the reference does not go the way that is checked.
#pragma once
#include <initializer_list>

#include "core/device.h"
#include "ops/kernel_families.h"

namespace elastron::ops::self_check {

// A device may use everything but these, for as long as this lives.
class Forbidding {
 public:
  Forbidding(Device& device, std::initializer_list<KernelFamily> families)
      : forbidden_(device.attached<ForbiddenKernels>()), before_(forbidden_) {
    forbidden_ = {};
    for (const KernelFamily f : families) forbidden_.families.add(f);
  }
  ~Forbidding() { forbidden_ = before_; }
  Forbidding(const Forbidding&) = delete;
  Forbidding& operator=(const Forbidding&) = delete;

 private:
  ForbiddenKernels& forbidden_;
  ForbiddenKernels before_;
};

}  // namespace elastron::ops::self_check
