// Rows, prompts and answers of LongBench-v2 (Bai et al., 2024; docs/benchmarks.md, LongBench-v2).
#pragma once
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "benchmark/prediction_file.h"

namespace elastron::benchmark {

struct LongBenchV2Row {
  std::string id, domain, sub_domain;
  std::string difficulty;  // easy | hard
  std::string length;      // short | medium | long
  std::string question;
  std::array<std::string, 4> choices;  // A to D
  std::string answer;                  // a letter
  std::string context;
};

// data.json, a list, or the same rows as JSON lines. InputError naming file, row and field, and for
// two rows of one _id.
std::vector<LongBenchV2Row> read_longbench_v2_data(const std::string& path);

// The user's message. `pattern`: the text of prompts/0shot.txt or a like file. $DOC$, $Q$, $C_A$ to
// $C_D$ and, where there are thoughts, $COT$ are replaced one after the other, everywhere: such a
// mark within the document is replaced as well. Fields are without white space at their ends.
std::string longbench_v2_prompt(std::string_view pattern, const LongBenchV2Row& row,
                                const std::optional<std::string>& thoughts = {});
// Reads a file of prompts. InputError where it has no $Q$.
std::string read_longbench_v2_prompt(const std::string& path);

// "A" to "D", or nothing where the response does not say "The correct answer is (X)" or "... is X",
// asterisks apart.
std::optional<std::string> longbench_v2_answer(std::string_view response);

// A row as the published program writes it: the data's fields with the first 1000 characters of the
// context, the thoughts where there were some, response, pred, judge. Texts of the model are
// stripped.
nlohmann::ordered_json longbench_v2_prediction(const LongBenchV2Row& row,
                                               const std::string& response,
                                               const std::optional<std::string>& thoughts = {});
// The _id of each row that a file of predictions has already. InputError for one that the data has
// not, and for one that is there twice.
std::set<std::string> longbench_v2_rows_done(const PredictionFile& file,
                                             const std::vector<LongBenchV2Row>& data);

}  // namespace elastron::benchmark
