#include "model/shared_prompts.h"

#include "ops/elementwise.h"

namespace elastron::model {

namespace {

Tensor like(const Tensor& t, int64_t rows) {
  Shape shape = t.shape();
  shape.set(0, rows);
  return Tensor::empty(shape, t.dtype(), t.device());
}

}  // namespace

SharedPrompts::SharedPrompts(const data::PackedBatch& batch)
    : any_(!batch.document_of.empty()),
      rows_(batch.tokens()),
      documents_(batch.documents()),
      document_of_(batch.document_of) {
  if (batch.prefix_of.empty()) return;
  cu_keys_ = {0};
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    int64_t key = cu_keys_.back();
    const int64_t offset = batch.offset(s), begin = batch.cu_seqlens[size_t(s)];
    if (offset > 0) {
      const auto prefix = size_t(batch.prefix_of[size_t(s)]);
      copies_.push_back({batch.cu_seqlens[prefix], key, offset, false});
      key += offset;
    }
    copies_.push_back({begin, key, batch.length(s), true});
    cu_keys_.push_back(int32_t(key + batch.length(s)));
  }
}

Tensor SharedPrompts::keys(const Tensor& rows) const {
  if (cu_keys_.empty()) return rows;
  Tensor out = like(rows, cu_keys_.back());
  for (const Copy& c : copies_) {
    out.slice(0, c.key, c.key + c.count).copy_from(rows.slice(0, c.row, c.row + c.count));
  }
  return out;
}

Tensor SharedPrompts::sum_keys(const Tensor& keys) const {
  if (cu_keys_.empty()) return keys;
  Tensor out = like(keys, rows_);
  if (copies_.empty() || copies_.back().row + copies_.back().count < rows_) out.zero();  // padding
  // Every row is written once before anything is added to it.
  for (const bool own : {true, false}) {
    for (const Copy& c : copies_) {
      if (c.own != own) continue;
      Tensor to = out.slice(0, c.row, c.row + c.count);
      const Tensor from = keys.slice(0, c.key, c.key + c.count);
      if (own) {
        to.copy_from(from);
      } else {
        ops::add_into(to, from);
      }
    }
  }
  return out;
}

Tensor SharedPrompts::gates(const Tensor& documents) const {
  if (!any_) return documents;
  Tensor out = like(documents, int64_t(document_of_.size()));
  for (size_t s = 0; s < document_of_.size(); ++s) {
    const int64_t d = document_of_[s], at = int64_t(s);
    out.slice(0, at, at + 1).copy_from(documents.slice(0, d, d + 1));
  }
  return out;
}

Tensor SharedPrompts::sum_gates(const Tensor& sequences) const {
  if (!any_) return sequences;
  Tensor out = like(sequences, documents_);
  out.zero();
  for (size_t s = 0; s < document_of_.size(); ++s) {
    const int64_t d = document_of_[s], at = int64_t(s);
    Tensor to = out.slice(0, d, d + 1);
    ops::add_into(to, sequences.slice(0, at, at + 1));
  }
  return out;
}

}  // namespace elastron::model
