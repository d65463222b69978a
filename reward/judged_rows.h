// Judged rows of a benchmark, and rows.jsonl, which holds them one JSON object a line and grows
// while an evaluation goes on. (docs/method.md, Results table)
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/file/append_file.h"
#include "core/file/rows_identity.h"
#include "reward/verdict.h"

namespace elastron::reward {

struct PairScores {
  double chosen = 0, rejected = 0;  // with several rejected responses their mean
  double margin() const { return chosen - rejected; }
};

// A generative judge's answer.
struct Judgement {
  bool chosen_is_a = true;
  std::string output;
  std::optional<std::string> swapped_output;  // its answer with A and B exchanged
  int64_t prompt_tokens = 0;                  // 0: not known

  bool right(VerdictRule rule) const { return verdict_is_right(output, chosen_is_a, rule); }
};

// Has either scores or a judgement, or neither and a reason for it.
struct JudgedRow {
  std::string file;   // name of the benchmark file without folder and .jsonl
  int64_t index = 0;  // of the row within its file, from 0
  // As in PreferenceRow; `setting` is the row's field `task`.
  std::string setting, subtask, length;
  std::optional<PairScores> scores;
  std::optional<PairScores> untrained;  // of a new head on the same backbone; only beside scores
  std::optional<Judgement> judgement;
  // The longest rejected response counts; 0: not known.
  int64_t tokens_chosen = 0, tokens_rejected = 0;
  bool truncated = false;
  std::string skip_reason;

  bool skipped() const { return !skip_reason.empty(); }
};

// The row as a line with its newline: the published fields, null where a figure is not known, then
// those that only some rows have. Scores read back exactly. Throws NumericalError for a score that
// is not finite; text that is not UTF-8 gets U+FFFD for it.
std::string judged_row_line(const JudgedRow& row);
// Throws InputError naming `where` for a line that is no judged row.
JudgedRow parse_judged_row(std::string_view line, const std::string& where);

// Files in the given order, rows by index. Throws LogicError for a row of another file.
void sort_judged_rows(std::vector<JudgedRow>& rows, const std::vector<std::string>& files);

// Names and values that an evaluation depends on: model, checkpoint, data, limits.
using EvaluationIdentity = RowsIdentity;

// <folder>/rows.jsonl of an evaluation that may stop at any moment and go on later, with the
// identity beside it in rows.meta.json. One process opens it.
class JudgedRowsFile {
 public:
  // Makes the folder, or takes up what is there: a last line without its newline is dropped.
  // Throws UsageError where rows of another evaluation are there, naming what differs; InputError
  // for a line that is no judged row of `files`, or is there twice.
  JudgedRowsFile(const std::string& folder, const EvaluationIdentity& identity,
                 std::vector<std::string> files);

  bool done(const std::string& file, int64_t index) const;
  // In the order in which they were judged, those of an earlier start first.
  const std::vector<JudgedRow>& rows() const { return rows_; }
  // Adds the row at once. It must not be there yet.
  void append(JudgedRow row);
  // Rewrites the file in canonical order, so that its bytes depend neither on who judged which row
  // nor on interruptions; returns the rows in that order. Nothing can be appended afterwards.
  std::vector<JudgedRow> finish();

 private:
  void take_up(const std::string& path);
  void keep(JudgedRow row);

  std::vector<std::string> files_;
  std::vector<JudgedRow> rows_;
  std::set<std::pair<std::string, int64_t>> done_;
  std::string path_;
  std::unique_ptr<AppendFile> out_;
};

}  // namespace elastron::reward
