// How alike documents of different kinds look to the routers: cosines between the kinds' mean
// vectors, before and after the task MLP (docs/method.md, Router network; the paper's Fig. 5).
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "parallel/mesh.h"
#include "router/gate_source.h"

namespace elastron::train {

// [kinds][kinds]: cosine of the two kinds' mean vectors over their documents, mean over layers and
// decisions (kv heads, or one per layer). A mean of length 0 has cosine 0 with every other.
struct KindFeatures {
  std::vector<std::string> kinds;           // that have documents, by name
  std::vector<std::vector<double>> before;  // of the pooled vectors that the routers read
  std::vector<std::vector<double>> after;   // of what the task MLP makes of them
};

// Sums of this rank's documents, of its heads.
class KindFeatureSums final : public router::RouterObserver {
 public:
  // `kinds`: the source's names, some of which may be alike.
  KindFeatureSums(const std::vector<std::string>& kinds, int64_t layers);

  void see(int64_t layer, const router::SavedRouter& networks) override;
  // After each forward pass: the kinds of its documents. Reads the device once and waits for it.
  void take(std::span<const int32_t> kind_ids);

  // Collective over the data and tensor groups; the same on all ranks. by_layer: the ranks of a
  // tensor group decided the same, once per layer. Nothing (no kinds) where no router decided.
  KindFeatures cosines(parallel::Mesh& mesh, bool by_layer);

 private:
  // Of the task MLP's input or output, [kinds, layers, decisions, width].
  struct Side {
    int64_t width = 0;
    std::vector<double> sums;
  };
  void add(Side& side, size_t layer, std::span<const int32_t> kind_ids,
           std::span<const double> rows);
  // Sums over layers and decisions of this rank, [kinds * kinds].
  std::vector<double> cosine_sums(const Side& side, std::span<const size_t> kinds) const;

  std::vector<std::string> names_;  // sorted
  std::vector<size_t> name_of_;     // of each kind id
  size_t layers_;
  int64_t decisions_ = 0;  // per document and layer; 0: nothing was seen
  Side before_, after_;
  std::vector<double> documents_;  // [kinds]
  std::vector<Tensor> seen_;       // of the pass: [layers] before, [layers] after
};

}  // namespace elastron::train
