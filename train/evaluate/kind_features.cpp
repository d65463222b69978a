#include "train/evaluate/kind_features.h"

#include <algorithm>
#include <cmath>

#include "ops/elementwise.h"
#include "ops/gathered_read.h"

namespace elastron::train {

namespace {

double dot(const double* a, const double* b, int64_t width) {
  double sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += a[i] * b[i];
  return sum;
}

// A host can read these as double.
Tensor readable(const Tensor& t) { return t.dtype() == DType::bf16 ? ops::cast(t, DType::f32) : t; }

std::vector<std::vector<double>> matrix(std::span<const double> sums, size_t side, double count) {
  std::vector<std::vector<double>> rows(side);
  for (size_t i = 0; i < side * side; ++i) rows[i / side].push_back(sums[i] / count);
  return rows;
}

}  // namespace

KindFeatureSums::KindFeatureSums(const std::vector<std::string>& kinds, int64_t layers)
    : names_(kinds), layers_(size_t(layers)), seen_(2 * size_t(layers)) {
  std::ranges::sort(names_);
  names_.erase(std::unique(names_.begin(), names_.end()), names_.end());
  for (const std::string& kind : kinds) {
    name_of_.push_back(size_t(std::ranges::lower_bound(names_, kind) - names_.begin()));
  }
  documents_.resize(names_.size());
}

void KindFeatureSums::see(int64_t layer, const router::SavedRouter& networks) {
  seen_[size_t(layer)] = readable(networks.read());
  seen_[layers_ + size_t(layer)] = readable(networks.task_features());
}

void KindFeatureSums::take(std::span<const int32_t> kind_ids) {
  if (!seen_[0].defined()) return;
  ops::GatheredRead read(seen_);
  decisions_ = seen_[0].size(0) / int64_t(kind_ids.size());
  before_.width = seen_[0].size(1);
  after_.width = seen_[layers_].size(1);
  for (size_t layer = 0; layer < layers_; ++layer) {
    add(before_, layer, kind_ids, read.doubles(layer));
    add(after_, layer, kind_ids, read.doubles(layers_ + layer));
  }
  for (const int32_t kind : kind_ids) documents_[name_of_.at(size_t(kind))] += 1;
  std::ranges::fill(seen_, Tensor());
}

void KindFeatureSums::add(Side& side, size_t layer, std::span<const int32_t> kind_ids,
                          std::span<const double> rows) {
  const size_t row = size_t(decisions_ * side.width);
  side.sums.resize(names_.size() * layers_ * row);
  for (size_t d = 0; d < kind_ids.size(); ++d) {
    double* sum = &side.sums[(name_of_.at(size_t(kind_ids[d])) * layers_ + layer) * row];
    for (size_t i = 0; i < row; ++i) sum[i] += rows[d * row + i];
  }
}

std::vector<double> KindFeatureSums::cosine_sums(const Side& side,
                                                 std::span<const size_t> kinds) const {
  // The length of a mean does not change its cosine: sums do as well.
  const size_t places = layers_ * size_t(decisions_);
  const auto vector_of = [&](size_t kind, size_t place) {
    return &side.sums[(kind * places + place) * size_t(side.width)];
  };
  std::vector<double> cosines;
  for (const size_t a : kinds) {
    for (const size_t b : kinds) {
      double sum = 0;
      for (size_t place = 0; place < places; ++place) {
        const double *x = vector_of(a, place), *y = vector_of(b, place);
        const double lengths = dot(x, x, side.width) * dot(y, y, side.width);
        sum += a == b ? 1.0 : lengths == 0 ? 0.0 : dot(x, y, side.width) / std::sqrt(lengths);
      }
      cosines.push_back(sum);
    }
  }
  return cosines;
}

KindFeatures KindFeatureSums::cosines(parallel::Mesh& mesh, bool by_layer) {
  // A data rank without documents has seen nothing.
  std::vector<int64_t> shape = {decisions_, before_.width, after_.width};
  mesh.data().all_reduce_host(std::span<int64_t>(shape), parallel::ReduceOp::max);
  decisions_ = shape[0];
  if (decisions_ == 0) return {};
  mesh.data().all_reduce_host(std::span<double>(documents_), parallel::ReduceOp::sum);
  before_.width = shape[1], after_.width = shape[2];
  for (Side* side : {&before_, &after_}) {
    side->sums.resize(names_.size() * layers_ * size_t(decisions_ * side->width));
    mesh.data().all_reduce_host(std::span<double>(side->sums), parallel::ReduceOp::sum);
  }

  KindFeatures features;
  std::vector<size_t> kinds;
  for (size_t k = 0; k < names_.size(); ++k) {
    if (documents_[k] == 0) continue;
    kinds.push_back(k);
    features.kinds.push_back(names_[k]);
  }
  const auto means = [&](const Side& side) {
    std::vector<double> sums = cosine_sums(side, kinds);
    double count = double(layers_) * double(decisions_);
    if (!by_layer) {
      mesh.tensor().all_reduce_host(std::span<double>(sums), parallel::ReduceOp::sum);
      count *= mesh.tensor().size();
    }
    return matrix(sums, kinds.size(), count);
  };
  features.before = means(before_);
  features.after = means(after_);
  return features;
}

}  // namespace elastron::train
