// Gathers in one message which of a list's tensors do not fit.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace elastron {

class Misfits {
 public:
  // The list of one kind ("missing", "unexpected"), in the order in which kinds are first named.
  std::vector<std::string>& of(const std::string& kind);
  // "<what>: missing a, b; unexpected c, d, e, f and 3 more" as an InputError, if there are any.
  void throw_if_any(const std::string& what, const std::string& where,
                    const std::string& what_to_do) const;

 private:
  std::vector<std::pair<std::string, std::vector<std::string>>> kinds_;
};

}  // namespace elastron
