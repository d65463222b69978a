#include "benchmark/running/shared_rows.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/ceil_div.h"
#include "core/error.h"
#include "parallel/agree.h"

namespace elastron::benchmark {

namespace {

using Json = nlohmann::json;

std::string as_text(const std::vector<FinishedRow>& rows) {
  Json list = Json::array();
  for (const FinishedRow& row : rows) list.push_back({row.place, row.result});
  return list.dump();
}

}  // namespace

bool work_on(const SharedRows& work, const parallel::Mesh& mesh, const LongRun& around) {
  const int64_t ranks = mesh.data().size(), rank = mesh.data().rank();
  const int64_t own = ceil_div(std::max<int64_t>(work.rows - rank, 0), ranks);
  const int64_t most = ceil_div(work.rows, ranks);
  const int64_t exchanges = ceil_div(most, work.between_exchanges);
  std::map<int64_t, std::string> early;  // results whose turn has not come, on the first rank
  int64_t next = 0, finished = 0;
  for (int64_t e = 0; e < exchanges; ++e) {
    std::vector<FinishedRow> here;
    while (finished < std::min(own, (e + 1) * work.between_exchanges)) {
      around.beat();
      for (FinishedRow& row : work.step()) {
        here.push_back(std::move(row));
        ++finished;
      }
    }
    const std::vector<std::string> all = mesh.data().all_gather_host(as_text(here));
    parallel::on_all_ranks(mesh.world(), [&] {
      if (mesh.world().rank() != 0) return;
      for (const std::string& part : all) {
        for (Json& row : Json::parse(part)) early[row[0]] = std::move(row[1]);
      }
      for (auto it = early.begin(); it != early.end() && it->first == next; ++next) {
        work.keep({it->first, it->second});
        it = early.erase(it);
      }
    });
    around.beat();
    const bool more = e + 1 < exchanges;
    if (more && parallel::on_any_rank(mesh.world(), around.stop_requested())) return false;
  }
  return true;
}

}  // namespace elastron::benchmark
