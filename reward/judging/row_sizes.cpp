#include "reward/judging/row_sizes.h"

#include <algorithm>
#include <array>

#include "core/log.h"
#include "parallel/agree.h"

namespace elastron::reward {

namespace {

// A row's size and its control tokens as numbers that are summed over the ranks: one has them.
using Numbers = std::array<int64_t, 7>;

Numbers numbers_of(const PreferenceRow& row, const PairReader& reader, int64_t limit,
                   Overlong policy, BadRows bad_rows) {
  const auto tokens = [](const std::vector<int32_t>& ids) { return int64_t(ids.size()); };
  const auto ids = reader.ids(row, bad_rows);
  if (!ids) return {0, 0, 0, 0, 0, int64_t(DropReason::not_rendered), 0};
  const auto fitted = fit_pair(*ids, limit, policy, row.where);
  int64_t rejected = 0, longest = 0;
  for (const auto& response : ids->rejected) rejected = std::max(rejected, tokens(response));
  for (const auto& sequence : fitted.sequences) longest = std::max(longest, tokens(sequence));
  return {tokens(ids->prompt),
          tokens(ids->chosen),
          rejected,
          longest,
          fitted.truncated ? 1 : 0,
          int64_t(fitted.drop_reason),
          int64_t(reader.controls_in(row).size())};
}

}  // namespace

std::vector<SizedRow> measure_rows(const std::vector<EvaluationFile>& files,
                                   const PairReader& reader, int64_t limit, Overlong policy,
                                   BadRows bad_rows, parallel::Communicator& everyone) {
  constexpr size_t kValues = std::tuple_size_v<Numbers>;
  std::vector<SizedRow> rows;
  for (const EvaluationFile& file : files) {
    for (const auto& row : file.content.rows) rows.push_back({.file = &file, .row = &row});
  }
  std::vector<int64_t> flat(rows.size() * kValues, 0);
  parallel::on_all_ranks(everyone, [&] {
    for (size_t i = size_t(everyone.rank()); i < rows.size(); i += size_t(everyone.size())) {
      std::ranges::copy(numbers_of(*rows[i].row, reader, limit, policy, bad_rows),
                        flat.begin() + std::ptrdiff_t(i * kValues));
    }
  });
  everyone.all_reduce_host(std::span<int64_t>(flat), parallel::ReduceOp::sum);
  data::ControlCount controls;
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t* v = &flat[i * kValues];
    rows[i].size = {.prompt = v[0],
                    .chosen = v[1],
                    .rejected = v[2],
                    .longest = v[3],
                    .truncated = v[4] != 0,
                    .dropped = DropReason(v[5])};
    controls.add(v[6], rows[i].row->where);
  }
  if (const auto remark = controls.text(reader.controls(), "row"); !remark.empty()) {
    log_warning("judged rows: {}", remark);
  }
  return rows;
}

}  // namespace elastron::reward
