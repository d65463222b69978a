// Records as JSON lines: {"context", "question", "answer", "metadata": {"task", "is_prefix"}}.
#pragma once
#include <functional>
#include <string>

#include "data/record.h"

namespace elastron::data {

// Calls `on_record` for each record with its place ("file:line"); blank lines are skipped, U+FEFF
// is stripped (spec 9). `metadata` is an object, or its text: JSON, or what Python's str() makes of
// a dict. Its "kind" is optional, its "is_prefix" true by default. The last line needs no newline.
// Throws InputError naming file:line and the field for a line that is not a valid record, over
// 64 MiB, or cut off at the end of the file.
void read_jsonl(const std::string& path,
                const std::function<void(const Record&, const std::string& where)>& on_record);

// One line, with the newline; read_jsonl gives the same record back. Throws InputError when a field
// is not UTF-8.
std::string jsonl_line(const Record& record);

}  // namespace elastron::data
