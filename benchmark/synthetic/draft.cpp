#include "benchmark/synthetic/draft.h"

#include <algorithm>

namespace elastron::benchmark {

std::string with_needles(const std::function<std::string(int64_t)>& filler, int64_t units,
                         const std::vector<Needle>& needles, const std::string& separator) {
  std::vector<Needle> in_order = needles;
  std::ranges::stable_sort(in_order, {}, &Needle::depth);
  std::string text;
  const auto add = [&](const std::string& piece) {
    if (!text.empty()) text += separator;
    text += piece;
  };
  auto next = in_order.begin();
  for (int64_t unit = 0; unit <= units; ++unit) {
    for (; next != in_order.end() && int64_t(next->depth * double(units)) <= unit; ++next) {
      add(next->text);
    }
    if (unit < units) add(filler(unit));
  }
  return text;
}

}  // namespace elastron::benchmark
