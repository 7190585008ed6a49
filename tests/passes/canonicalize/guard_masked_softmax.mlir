// RUN: axonc opt %s --split-input-file --pass-pipeline "guard-masked-softmax"

// A mask of -inf: the product reads zeros for rows that are masked whole, and gets their NaN back.
// CHECK-LABEL: func.func @main
// CHECK:       [[S:%.+]] = "neuron.select"
// CHECK-DAG:   [[P:%.+]] = "neuron.masked_softmax"([[S]]) {axis = 1 : i64}
// CHECK-DAG:   [[M:%.+]] = "neuron.reduce"([[S]]) {dims = [1], kind = "max"}
// CHECK:       [[E:%.+]] = "neuron.compare"([[M]]
// CHECK:       [[D:%.+]] = "neuron.dot"([[P]], %arg2)
// CHECK:       [[B:%.+]] = "neuron.broadcast"([[E]]) {dims = [0]}
// CHECK:       [[N:%.+]] = "neuron.constant"() {value = dense<0x7FC00000>
// CHECK:       [[O:%.+]] = "neuron.select"([[B]], [[N]], [[D]])
// CHECK:       return [[O]]
func.func @main(%s: tensor<4x8xf32>, %m: tensor<4x8xi1>, %v: tensor<8x16xf32>) -> tensor<4x16xf32> {
  %i = "neuron.constant"() {value = dense<0xFF800000> : tensor<4x8xf32>} : () -> tensor<4x8xf32>
  %x = "neuron.select"(%m, %s, %i) : (tensor<4x8xi1>, tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %p = "neuron.softmax"(%x) {axis = 1 : i64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %o = "neuron.dot"(%p, %v) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0],
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0>} : (tensor<4x8xf32>, tensor<8x16xf32>) -> tensor<4x16xf32>
  return %o : tensor<4x16xf32>
}

// -----

// A mask of a large finite number leaves no row empty.
// CHECK-LABEL: func.func @main
// CHECK-NOT:   masked_softmax
// CHECK:       return
func.func @main(%s: tensor<4x8xf32>, %m: tensor<4x8xi1>, %v: tensor<8x16xf32>) -> tensor<4x16xf32> {
  %t = "neuron.tanh"(%s) : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %i = "neuron.constant"() {value = dense<-3.0e+38> : tensor<4x8xf32>} : () -> tensor<4x8xf32>
  %x = "neuron.select"(%m, %t, %i) : (tensor<4x8xi1>, tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %p = "neuron.softmax"(%x) {axis = 1 : i64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %o = "neuron.dot"(%p, %v) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0],
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0>} : (tensor<4x8xf32>, tensor<8x16xf32>) -> tensor<4x16xf32>
  return %o : tensor<4x16xf32>
}

// -----

// +inf makes a softmax NaN that a masked one would not hide: left alone.
// CHECK-LABEL: func.func @main
// CHECK-NOT:   masked_softmax
// CHECK:       return
func.func @main(%s: tensor<4x8xf32>, %m: tensor<4x8xi1>, %v: tensor<8x16xf32>) -> tensor<4x16xf32> {
  %i = "neuron.constant"() {value = dense<0x7F800000> : tensor<4x8xf32>} : () -> tensor<4x8xf32>
  %x = "neuron.select"(%m, %s, %i) : (tensor<4x8xi1>, tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %p = "neuron.softmax"(%x) {axis = 1 : i64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %o = "neuron.dot"(%p, %v) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0],
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0>} : (tensor<4x8xf32>, tensor<8x16xf32>) -> tensor<4x16xf32>
  return %o : tensor<4x16xf32>
}

// -----

// A product that sums over another dim mixes rows: its reader sees the softmax as it was.
// CHECK-LABEL: func.func @main
// CHECK-NOT:   masked_softmax
// CHECK:       return
func.func @main(%s: tensor<4x8xf32>, %m: tensor<4x8xi1>, %v: tensor<4x16xf32>) -> tensor<8x16xf32> {
  %i = "neuron.constant"() {value = dense<0xFF800000> : tensor<4x8xf32>} : () -> tensor<4x8xf32>
  %x = "neuron.select"(%m, %s, %i) : (tensor<4x8xi1>, tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %p = "neuron.softmax"(%x) {axis = 1 : i64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %o = "neuron.dot"(%p, %v) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [0], rhs_contract = [0],
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0>} : (tensor<4x8xf32>, tensor<4x16xf32>) -> tensor<8x16xf32>
  return %o : tensor<8x16xf32>
}
