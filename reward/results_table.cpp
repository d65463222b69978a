#include "reward/results_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "core/error.h"

namespace elastron::reward {

ResultsTable::ResultsTable(std::vector<std::string> files) : files_(std::move(files)) {
  for (const std::string& file : files_) cells_[file];
}

void ResultsTable::add(const std::string& file, const std::string& setting,
                       const std::string& length, bool right) {
  const auto found = cells_.find(file);
  ELASTRON_CHECK(found != cells_.end(), "a row of a file without a column: " + file);
  ELASTRON_CHECK(std::find(std::begin(kLengthClasses), std::end(kLengthClasses), length) !=
                     std::end(kLengthClasses),
                 "unknown length class " + length);
  Cell& cell = found->second[setting][length];
  ++cell.rows;
  cell.right += right ? 1 : 0;
}

// A double as Python prints it, rounded to 5 places: always with a point or an exponent.
std::string ResultsTable::share(const Cell& cell) {
  if (cell.rows == 0) return "-1.0";
  const double rounded = std::stod(fmt::format("{:.5f}", double(cell.right) / double(cell.rows)));
  std::string text = fmt::format("{}", rounded);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string ResultsTable::csv() const {
  std::string header = ",Task";
  for (const std::string& file : files_) {
    const auto& settings = cells_.at(file);
    for (auto s = settings.rbegin(); s != settings.rend(); ++s) {
      if (s->first != file) header += "," + s->first;  // it shares the file's column
    }
    header += "," + file;
  }
  std::string text = header + ",Avg.\n";

  std::vector<std::string> names(std::begin(kLengthClasses), std::end(kLengthClasses));
  names.emplace_back("AVG.");
  for (size_t row = 0; row < names.size(); ++row) {
    const auto in_row = [&](const std::map<std::string, Cell>& by_length) {
      Cell sum;
      for (const auto& [length, cell] : by_length) {
        if (names[row] != "AVG." && names[row] != length) continue;
        sum.right += cell.right;
        sum.rows += cell.rows;
      }
      return sum;
    };
    Cell all;
    text += fmt::format("{},{}", row, names[row]);
    for (const std::string& file : files_) {
      const auto& settings = cells_.at(file);
      Cell whole;
      for (auto s = settings.rbegin(); s != settings.rend(); ++s) {
        const Cell cell = in_row(s->second);
        if (s->first != file) text += "," + share(cell);
        whole.right += cell.right;
        whole.rows += cell.rows;
      }
      text += "," + share(whole);
      all.right += whole.right;
      all.rows += whole.rows;
    }
    text += "," + share(all) + "\n";
  }
  return text;
}

}  // namespace elastron::reward
