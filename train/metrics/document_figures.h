// Figures of documents, and their means over the documents of a step or an evaluation.
#pragma once
#include <cstdint>

#include "router/sparsity.h"
#include "train/metrics/sums.h"

namespace elastron::train {

struct DocumentFigures : router::SparsityFigures {
  double entropy = 0;  // binary entropy of the gates' probability, mean over layers and heads, nats
};

struct DocumentMeans : DocumentFigures {
  int64_t documents = 0;  // 0: the means are zeros
};

struct DocumentSums {
  double documents = 0;
  DocumentFigures figures;

  void count(const DocumentFigures& document) {
    documents += 1;
    add(figures, document);
  }
  DocumentMeans means() const {
    return {divided(figures, documents > 0 ? documents : 1.0), int64_t(documents)};
  }
};

}  // namespace elastron::train
