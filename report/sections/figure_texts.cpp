#include "report/sections/figure_texts.h"

#include <algorithm>

#include "train/metrics/figures.h"
#include "train/workload/registry.h"

namespace elastron::report {

namespace {

// Groups by the first part of a figure's TensorBoard tag, and by its name where it has none.
struct Group {
  std::string_view tag, name, title;
};
constexpr Group kGroups[] = {{"train/", "", "Loss and optimiser"},
                             {"reward/", "", "Rewards"},
                             {"router/", "esr", "Routing"},
                             {"experts/", "", "Experts"},
                             {"eval/", "eval", "Evaluation while training"},
                             {"perf/", "", "Speed"},
                             {"memory/", "", "Speed"}};

std::string group_of(const train::FigureText& figure) {
  for (const Group& g : kGroups) {
    const bool by_tag = !figure.tag.empty() && figure.tag.starts_with(g.tag);
    const bool by_name = figure.tag.empty() && !g.name.empty() && figure.name.starts_with(g.name);
    if (by_tag || by_name) return std::string(g.title);
  }
  return "Data";
}

// "64 x 64 tiles ([routed attention](attention.md))", "`msr`": the texts without their Markdown.
std::string plain(std::string_view markdown) {
  std::string text;
  for (size_t i = 0; i < markdown.size(); ++i) {
    const char c = markdown[i];
    if (c == ']' && markdown.substr(i).starts_with("](")) {
      i = std::min(markdown.find(')', i), markdown.size() - 1);
    } else if (c != '[' && c != '`') {
      text += c;
    }
  }
  return text;
}

}  // namespace

std::vector<FigureWords> figure_words(std::string_view objective) {
  std::vector<train::FigureText> texts;
  const auto add = [&](const auto& table) {
    texts.insert(texts.end(), table.begin(), table.end());
  };
  const bool known = std::ranges::any_of(
      train::kObjectives, [&](const train::ObjectiveRow& row) { return row.name == objective; });
  for (const bool steps : {true, false}) {
    for (const train::ObjectiveRow& row : train::kObjectives) {
      if (known && row.name != objective) continue;
      const train::ObjectiveFigures figures = row.objective().figures();
      steps ? add(train::step_figures(figures)) : add(figures.of_evaluation);
    }
  }
  std::vector<FigureWords> words;
  for (const train::FigureText& t : texts) {
    const bool told = std::ranges::any_of(words, [&](const auto& w) { return w.name == t.name; });
    if (told) continue;
    words.push_back({std::string(t.name), std::string(t.unit), plain(t.meaning), group_of(t)});
  }
  return words;
}

}  // namespace elastron::report
