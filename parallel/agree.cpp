#include "parallel/agree.h"

namespace elastron::parallel {

void on_all_ranks(Communicator& group, const std::function<void()>& step) {
  std::optional<Error> failure;
  try {
    step();
  } catch (const Error& error) {
    failure.emplace(error);
  }
  int64_t first_failing[] = {failure ? group.rank() : group.size()};
  group.all_reduce_host(first_failing, ReduceOp::min);
  const auto failing = int(first_failing[0]);
  if (failing == group.size()) return;

  const bool mine = failing == group.rank();
  const std::string code =
      group.broadcast_host(mine ? std::to_string(int(failure->kind())) : std::string(), failing);
  throw AgreedFailure(ExitCode(std::stoi(code)),
                      mine ? std::optional<std::string>(failure->what()) : std::nullopt);
}

bool on_any_rank(Communicator& group, bool here) {
  int64_t any[] = {here ? 1 : 0};
  group.all_reduce_host(any, ReduceOp::max);
  return any[0] != 0;
}

}  // namespace elastron::parallel
