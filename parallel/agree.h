// Steps that every rank takes and that may fail on one or on all: configuration, model files, data.
#pragma once
#include <functional>
#include <optional>
#include <string>

#include "core/error.h"
#include "parallel/communicator.h"

namespace elastron::parallel {

// Thrown on every rank when a step failed on any. Only one rank has the text to print.
class AgreedFailure : public std::exception {
 public:
  AgreedFailure(ExitCode kind, std::optional<std::string> line)
      : kind_(kind), line_(std::move(line)) {}
  ExitCode kind() const { return kind_; }
  const std::optional<std::string>& line() const { return line_; }
  const char* what() const noexcept override { return "a step failed on some rank"; }

 private:
  ExitCode kind_;
  std::optional<std::string> line_;
};

// Collective. Runs `step` on every rank; when it throws an Error anywhere, throws AgreedFailure
// everywhere, with the lowest failing rank's exit code, and its text on that rank. The step itself
// must not communicate.
void on_all_ranks(Communicator& group, const std::function<void()>& step);

// Collective. Whether any rank says so; the same on all ranks.
bool on_any_rank(Communicator& group, bool here);

}  // namespace elastron::parallel
