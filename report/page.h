// A page that needs nothing but itself: no network, no fonts, no server, and no script to be read.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "report/figure.h"

namespace elastron::report {

using Facts = std::vector<std::pair<std::string, std::string>>;

// Takes plain text everywhere and escapes it.
class Page {
 public:
  explicit Page(std::string title) : title_(std::move(title)) {}

  // Levels 2 (listed at the top of the page) to 4, each below the one before or one level down.
  void heading(int level, std::string_view text);
  void paragraph(std::string_view text);
  void facts(const Facts& facts);
  // A table in the open, to be sorted, with its CSV file.
  void table(const Table& table, std::string_view caption);
  // Side by side where there is room, each with its numbers folded below it.
  void figures(const std::vector<Figure>& figures);
  // A command or a file. `folded`: behind a summary of that text.
  void code(std::string_view text, std::string_view folded = "");

  // `refresh_seconds`: the page loads itself again after so many; empty: never.
  std::string html(std::optional<int> refresh_seconds) &&;

 private:
  std::string title_, body_, contents_;
  int headings_ = 0, level_ = 1;
  std::string under_;  // the last heading's text, for the names of CSV files
};

}  // namespace elastron::report
