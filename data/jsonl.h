// Records as JSON lines: {"context", "question", "answer", "metadata": {"task", "is_prefix"}}.
#pragma once
#include <functional>
#include <string>

#include "data/record.h"

namespace elastron::data {

// Calls `on_record` for each record with its place ("file:line"). `metadata` may be an object or its
// JSON text; "kind" in it is optional. Throws InputError naming file:line and field for a line that
// is not valid, over 64 MiB, or cut off at the end of the file.
void read_jsonl(const std::string& path,
                const std::function<void(const Record&, const std::string& where)>& on_record);

// One line, with the newline.
std::string jsonl_line(const Record& record);

}  // namespace elastron::data
