// Preference data: a prompt, a chosen response, one or more rejected ones. JSON lines of two forms,
// the first in two ways:
//   {"prompt": text or [{"role", "content"}], "chosen": text, "rejected" or "rejects": text or
//    [text], "margin": number}                                                  (margin optional)
//   the same with lists of messages as responses (reward/message_pairs.h)
//   rows of MemoryRewardBench, raw or standard: question, chosen, rejected, task, subtask,
//   ctx_length, and more that is passed over (docs/method.md, Benchmark rows)
// Fields are found by name; what is not known is passed over, as the published files differ from
// row to row.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/file/checksum.h"
#include "data/chat_template.h"
#include "data/config.h"
#include "data/jsonl.h"

namespace elastron::reward {

struct PreferenceRow {
  std::vector<data::ChatMessage> prompt;  // a prompt that is text: one message of the user
  std::string chosen;
  std::vector<std::string> rejected;
  // For conversations that part before their last answer: the messages between the prompt and each
  // response, the chosen one's first. Empty: the responses follow the prompt.
  std::vector<std::vector<data::ChatMessage>> before;
  double margin = 0;
  // MemoryRewardBench's; empty in the other form. `setting` is the field `task`: a setting's name
  // in raw rows, the file's in standard ones.
  std::string setting, subtask, length;
  std::string where;     // "file:line"
  int64_t index = 0;     // in its file, from 0, whatever becomes of the others
  std::string left_out;  // why it cannot be used; empty: it can
};

// Throws InputError naming file:line and the field for a line that is not JSON, is cut off, or
// lacks or mistypes a field.
PreferenceRow parse_preference_row(const data::JsonlLine& line, const std::string& path);

// The content of a row: prompt and responses.
void add_to(Checksum& sum, const PreferenceRow& row);

// Why a well-formed row cannot be used: "empty response", "chosen equals rejected", "unknown length
// class"; nothing for a good one.
std::string reason_to_leave_out(const PreferenceRow& row);

// How many rows were left out, by reason: "3 duplicate row, 1 empty response"; "none".
std::string left_out_text(const std::map<std::string, int64_t>& left_out);

enum class BadRows : uint8_t { error, skip };  // of those reasons, and "duplicate row"

struct PreferenceFile {
  std::vector<PreferenceRow> rows;
  std::vector<PreferenceRow> bad_rows;      // that were left out
  std::map<std::string, int64_t> left_out;  // their number by reason
  // Lines that are no rows are among them, under data.bad_records: skip.
  int64_t lines() const { return int64_t(rows.size() + bad_rows.size()); }
};

// All rows of a file, which must be of one form. `skip` counts the rows it leaves out; `error`
// throws InputError at the first. A line that is no row at all is an error, or is left out and
// counted too, as `bad_records` says.
PreferenceFile read_preference_file(const std::string& path, BadRows bad_rows,
                                    data::BadRecords bad_records = data::BadRecords::error);

}  // namespace elastron::reward
