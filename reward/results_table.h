// results.csv of MemoryRewardBench, byte for byte what the published evaluator writes
// (docs/method.md, Results table).
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace elastron::reward {

inline constexpr const char* kLengthClasses[] = {"8k", "16k", "32k", "64k", "128k"};

class ResultsTable {
 public:
  // Files in the order of their columns; a row of a file belongs to it even if none follows.
  explicit ResultsTable(std::vector<std::string> files);
  // One judged row. Throws LogicError for a file or a length class that is not known.
  void add(const std::string& file, const std::string& setting, const std::string& length,
           bool right);
  std::string csv() const;

 private:
  struct Cell {
    int64_t right = 0, rows = 0;
  };
  static std::string share(const Cell& cell);

  std::vector<std::string> files_;
  // By file, setting and length class.
  std::map<std::string, std::map<std::string, std::map<std::string, Cell>>> cells_;
};

}  // namespace elastron::reward
