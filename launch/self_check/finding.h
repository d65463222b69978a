// What became of one check of a device's kernels, and how that is written down.
#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ops/kernel_families.h"

namespace elastron::launch::self_check {

enum class Verdict : uint8_t {
  agrees,
  differs,
  failed,     // the kernels ended with an error, or the process did
  hung,       // they did not end
  unchecked,  // the check itself could not be made: no memory, no process
};

struct Finding {
  std::string check;  // ops::KernelCheck::name
  Verdict verdict = Verdict::unchecked;
  std::string detail;                       // in words, where it is not `agrees`
  std::optional<ops::KernelFamily> family;  // that of the check

  // The kernels are not to be used.
  bool bad() const {
    return verdict == Verdict::differs || verdict == Verdict::failed || verdict == Verdict::hung;
  }
};
using Findings = std::vector<Finding>;

nlohmann::json to_json(const Findings& findings);
// Throws where the text says something else.
Findings findings_of(const nlohmann::json& list);

}  // namespace elastron::launch::self_check
