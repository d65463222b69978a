#include "router/gate_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/file/input_file.h"
#include "core/json.h"
#include "core/plural.h"

namespace elastron::router {

namespace {

constexpr uint64_t kLongest = uint64_t(16) << 20;

class Reader {
 public:
  Reader(const std::string& path, int64_t layers, int64_t kv_heads)
      : path_(path), layers_(layers), kv_heads_(kv_heads) {}

  HeadScores read() {
    const std::string text = read_small_file(path_, kLongest);
    const size_t first = text.find_first_not_of(" \t\r\n");
    if (first == text.npos) fail("the file is empty");
    const bool json = text[first] == '[' || text[first] == '{';
    json ? read_json(text) : read_table(text);
    if (int64_t(scores_.size()) != layers_) {
      fail("the file has " + plural(int64_t(scores_.size()), "layer"));
    }
    return std::move(scores_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(what, path_,
                     "give a number for each of " + std::to_string(layers_) + " layers and " +
                         std::to_string(kv_heads_) + " kv heads");
  }
  std::string layer() const { return "layer " + std::to_string(scores_.size()); }

  void take(std::vector<double> row) {
    if (int64_t(row.size()) != kv_heads_) {
      fail(layer() + " has " + std::to_string(row.size()) + " kv heads");
    }
    scores_.push_back(std::move(row));
  }

  void read_json(const std::string& text) {
    auto json = parse_json_strict(text, path_);
    if (json.is_object()) {
      if (!json.contains("kv_scores")) fail("the file has no 'kv_scores'");
      json = nlohmann::json(json["kv_scores"]);
    }
    if (!json.is_array()) fail("the file is not a list of layers");
    for (const auto& list : json) {
      if (!list.is_array()) fail(layer() + " is not a list");
      std::vector<double> row;
      for (const auto& number : list) {
        if (!number.is_number()) fail(layer() + " has something that is not a number");
        row.push_back(number.get<double>());
      }
      take(std::move(row));
    }
  }

  void read_table(const std::string& text) {
    constexpr std::string_view kBetween = " \t,;\r";
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      const std::string_view all = line;
      size_t at = all.find_first_not_of(kBetween);
      if (at == all.npos || all[at] == '#') continue;
      std::vector<double> row;
      while (at != all.npos) {
        const size_t end = std::min(all.find_first_of(kBetween, at), all.size());
        row.push_back(number(all.substr(at, end - at)));
        at = all.find_first_not_of(kBetween, end);
      }
      take(std::move(row));
    }
  }

  double number(std::string_view text) const {
    double value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end || !std::isfinite(value)) {
      fail(layer() + " has '" + std::string(text.substr(0, 20)) + "', which is no finite number");
    }
    return value;
  }

  const std::string& path_;
  int64_t layers_, kv_heads_;
  HeadScores scores_;
};

}  // namespace

HeadScores read_head_scores(const std::string& path, int64_t layers, int64_t kv_heads) {
  return Reader(path, layers, kv_heads).read();
}

StaticGates gates_of_numbers(const HeadScores& numbers, const std::string& path) {
  StaticGates gates;
  for (const auto& row : numbers) {
    auto& layer = gates.emplace_back();
    for (const double number : row) {
      if (!(number >= 0 && number <= 1)) {
        throw InputError("a gate of layer " + std::to_string(gates.size() - 1) +
                             " is not between 0 (sparse) and 1 (full)",
                         path, "use scores:FILE:MSR for numbers that only rank the heads");
      }
      layer.push_back(number >= 0.5 ? 1 : 0);
    }
  }
  return gates;
}

std::vector<HeadPlace> heads_by_score(const HeadScores& scores) {
  std::vector<HeadPlace> order;
  for (size_t l = 0; l < scores.size(); ++l) {
    for (size_t h = 0; h < scores[l].size(); ++h) order.push_back({l, h});
  }
  std::ranges::stable_sort(order, {},
                           [&](const HeadPlace& at) { return scores[at.layer][at.kv_head]; });
  return order;
}

StaticGates gates_of_scores(const HeadScores& scores, double msr) {
  StaticGates gates;
  for (const auto& layer : scores) gates.emplace_back(layer.size(), uint8_t(1));
  const auto order = heads_by_score(scores);
  const auto sparse = std::llround(msr * double(order.size()));
  ELASTRON_CHECK(sparse >= 0 && sparse <= int64_t(order.size()), "msr is a share");
  for (size_t i = 0; i < size_t(sparse); ++i) gates[order[i].layer][order[i].kv_head] = 0;
  return gates;
}

}  // namespace elastron::router
