// Findings that outlive the process: one file for each GPU model, driver and build, in
// $XDG_CACHE_HOME/elastron or ~/.cache/elastron. A file that is damaged, or of another identity, is
// as if it were not there. Any number of processes may read and write at once: a file is whole or
// not there, and what one of two writers adds may be lost, which costs a check.
#pragma once
#include <string>

#include "launch/self_check/finding.h"

namespace elastron::launch::self_check {

class FindingsCache {
 public:
  explicit FindingsCache(std::string identity);

  // Empty where no folder is known (neither variable is set).
  const std::string& path() const { return path_; }
  Findings read() const;
  // Adds to what is there; a finding of the same check is replaced. Warns in one line where the
  // file cannot be written.
  void add(const Findings& findings) const;

 private:
  std::string identity_, path_;
};

}  // namespace elastron::launch::self_check
