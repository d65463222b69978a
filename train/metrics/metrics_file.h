// metrics.jsonl: an object a line, which says at least its step.
#pragma once
#include <cstdint>
#include <string>

namespace elastron::train {

// Keeps the lines of steps up to `last_step`, for a run that goes on there; a torn last line goes
// without a word. Of other lines that cannot be read it warns: the file as it was then stays beside
// it, as metrics.jsonl.damaged. Nothing where there is no file.
void cut_metrics(const std::string& path, int64_t last_step);

}  // namespace elastron::train
