// The rows that eval-reward judges: of benchmark files, or of preference files of one's own.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "reward/judged_rows.h"
#include "reward/rows.h"

namespace elastron::reward {

struct EvaluationFile {
  std::string name;  // without folder and .jsonl: what reports call it
  std::string path;
  PreferenceFile content;
};

// Files, folders and patterns as data/file_list.h has them; what a folder or pattern stands for
// comes in the benchmark's order, then by name. Throws UsageError for a path that is not there, and
// for two files of one name; InputError for a folder without .jsonl files, a pattern that nothing
// matches, and bad rows (reward/rows.h). Settings that the benchmark does not have are said in a
// warning where `speaks`.
std::vector<EvaluationFile> read_evaluation_files(const std::vector<std::string>& paths,
                                                  BadRows bad_rows, data::BadRecords bad_records,
                                                  bool speaks);

// Throws InputError where `left` is 0: there is nothing to report on. `dropped`: rows by the reason
// for which they were left out, besides the files' own bad ones.
void expect_rows_left(const std::vector<EvaluationFile>& files, int64_t left,
                      const std::map<std::string, int64_t>& dropped = {});

// Throws UsageError: reports tell files by their names.
[[noreturn]] void refuse_second_file(const std::string& name, const std::string& path);

std::vector<std::string> names_of(const std::vector<EvaluationFile>& files);

// XXH3-128 over all files' bytes that matter: rows and what was left out.
std::string rows_checksum(const std::vector<EvaluationFile>& files);

// A judged row without its judgement. Rows that are not of the benchmark get their file's name as
// the setting, and the length class of `tokens`: prompt and both responses together.
JudgedRow unjudged(const EvaluationFile& file, const PreferenceRow& row, int64_t tokens);

}  // namespace elastron::reward
