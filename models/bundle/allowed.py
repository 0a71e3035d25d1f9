"""The TensorFlow operations that a bundle may hold: those that an image classifier computes with.

Each computes its outputs from its inputs, from its attributes and from variables. None reads or writes a file, prints,
opens a connection, waits for another process, or calls code that is not part of TensorFlow. `models.bundle.operations`
refuses every operation that is not named here.
"""

ALLOWED = frozenset(
    " ".join(
        [
            # Inputs, constants, and nodes that compute nothing.
            "_Arg _Retval Assert CheckNumerics CheckNumericsV2 Const DeepCopy EnsureShape GuaranteeConst HostConst",
            "Identity IdentityN NoOp Placeholder PlaceholderV2 PlaceholderWithDefault PreventGradient Snapshot",
            "StopGradient",
            # Arithmetic.
            "Abs AccumulateNV2 Acos Acosh Add AddN AddV2 Angle Asin Asinh Atan Atan2 Atanh BesselI0e BesselI1e",
            "BiasAdd BiasAddV1 Bitcast BitwiseAnd BitwiseOr BitwiseXor Bucketize Cast Ceil ClipByValue Complex",
            "ComplexAbs Conj Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp Digamma Div DivNoNan Erf Erfc Erfinv",
            "Exp Expm1 Floor FloorDiv FloorMod Imag Inv Invert IsFinite IsInf IsNan L2Loss LeftShift Lgamma Log Log1p",
            "Maximum Minimum Mod Mul MulNoNan Ndtri Neg NextAfter Polygamma PopulationCount Pow Real RealDiv",
            "Reciprocal RightShift Rint Round Rsqrt Sigmoid Sign Sin Sinh Sqrt Square SquaredDifference Sub Tan Tanh",
            "TruncateDiv TruncateMod Xdivy Xlog1py Xlogy Zeta",
            # Comparisons and logic.
            "ApproximateEqual Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual",
            "Select SelectV2 Where",
            # Sums and the like over axes.
            "All Any ArgMax ArgMin Bincount DenseBincount EuclideanNorm InTopK InTopKV2 Max Mean Min NthElement Prod",
            "SegmentMax SegmentMean SegmentMin SegmentSum SparseSegmentMean SparseSegmentSqrtN SparseSegmentSum Sum",
            "TopK TopKV2 UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum",
            # Products of matrices.
            "BatchMatMul BatchMatMulV2 BatchMatMulV3 Cholesky Einsum FFT FFT2D IFFT IFFT2D IRFFT IRFFT2D MatMul",
            "MatrixDeterminant MatrixInverse MatrixSolve MatrixTriangularSolve Qr RFFT RFFT2D SelfAdjointEigV2",
            "SparseMatMul SparseTensorDenseMatMul Svd",
            # Convolutions and pooling.
            "AvgPool AvgPool3D Conv Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 DepthwiseConv2dNative",
            "Dilation2D FractionalAvgPool FractionalMaxPool MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax",
            # Normalisation and activations.
            "ApproxTopK BatchNormWithGlobalNormalization Elu FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3",
            "LeakyRelu LogSoftmax LRN Relu Relu6 Selu Softmax Softplus Softsign",
            # Losses, which are left in graphs that were exported from a training.
            "SoftmaxCrossEntropyWithLogits SparseSoftmaxCrossEntropyWithLogits",
            # Products in 8 bits, and training for them.
            "Dequantize FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel",
            "QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4",
            "QuantizeAndDequantizeV4Grad QuantizeV2",
            # Shape.
            "BatchToSpace BatchToSpaceND BroadcastArgs BroadcastGradientArgs BroadcastTo Concat ConcatOffset ConcatV2",
            "DepthToSpace Diag DiagPart DynamicPartition DynamicStitch ExpandDims ExtractImagePatches Fill Gather",
            "GatherNd GatherV2 InvertPermutation LinSpace ListDiff LowerBound MatrixBandPart MatrixDiag",
            "MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2",
            "MatrixSetDiagV3 MirrorPad OneHot OnesLike Pack Pad PadV2 ParallelConcat ParallelDynamicStitch",
            "RaggedGather RaggedRange RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor",
            "RaggedTensorToVariant Range Rank Reshape ResourceGather ResourceGatherNd Reverse ReverseSequence",
            "ReverseV2 Roll ScatterNd Shape ShapeN Size Slice SpaceToBatch SpaceToBatchND SpaceToDepth",
            "SparseFillEmptyRows SparseReorder SparseReshape SparseSlice SparseToDense Split SplitV Squeeze",
            "StridedSlice TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate",
            "TensorStridedSliceUpdate Tile Transpose Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 Unpack",
            "UnravelIndex UpperBound ZerosLike",
            # Calls, conditions and loops, those of TensorFlow 1 too.
            "Case ControlTrigger Enter Exit For If LoopCond Merge NextIteration PartitionedCall RefEnter RefExit",
            "RefIdentity RefMerge RefNextIteration RefSelect RefSwitch StatefulPartitionedCall StatelessCase",
            "StatelessIf StatelessWhile Switch While",
            # Lists of tensors, of which a loop over images makes one.
            "EmptyTensorList OptionalFromValue OptionalGetValue OptionalHasValue OptionalNone StackCloseV2 StackPopV2",
            "StackPushV2 StackV2 TensorArrayCloseV3 TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayGradV3",
            "TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3 TensorArraySplitV3 TensorArrayV3",
            "TensorArrayWriteV3 TensorListConcat TensorListConcatLists TensorListConcatV2 TensorListElementShape",
            "TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPopBack",
            "TensorListPushBack TensorListPushBackBatch TensorListReserve TensorListResize TensorListScatter",
            "TensorListScatterIntoExistingList TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack",
            # Images.
            "AdjustContrastv2 AdjustHue AdjustSaturation CombinedNonMaxSuppression CropAndResize DecodeAndCropJpeg",
            "DecodeBmp DecodeGif DecodeImage DecodeJpeg DecodePng DecodeWebP DrawBoundingBoxes DrawBoundingBoxesV2",
            "EncodeJpeg EncodeJpegVariableQuality EncodePng ExtractGlimpse ExtractGlimpseV2 ExtractJpegShape HSVToRGB",
            "ImageProjectiveTransformV2 ImageProjectiveTransformV3 NonMaxSuppression NonMaxSuppressionV2",
            "NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 ResizeArea ResizeBicubic ResizeBilinear",
            "ResizeNearestNeighbor RGBToHSV SampleDistortedBoundingBoxV2 ScaleAndTranslate",
            # Texts and encoded examples.
            "AsString DecodeBase64 DecodePaddedRaw DecodeRaw EncodeBase64 ParseExample ParseExampleV2",
            "ParseSingleExample ReduceJoin RegexReplace StaticRegexFullMatch StaticRegexReplace StringFormat",
            "StringJoin StringLength StringLower StringSplit StringSplitV2 StringStrip StringToHashBucketFast",
            "StringToNumber StringUpper Substr UnicodeDecode",
            # Tables of labels.
            "AnonymousHashTable AnonymousMutableHashTable HashTable HashTableV2 InitializeTable InitializeTableV2",
            "LookupTableExport LookupTableExportV2 LookupTableFind LookupTableFindV2 LookupTableImport",
            "LookupTableImportV2 LookupTableInsertV2 LookupTableSize LookupTableSizeV2 MutableHashTable",
            "MutableHashTableV2",
            # Variables.
            "Assign AssignAdd AssignAddVariableOp AssignSub AssignSubVariableOp AssignVariableOp CountUpTo",
            "DestroyResourceOp DisableCopyOnRead IsVariableInitialized ReadVariableOp ResourceScatterAdd",
            "ResourceScatterUpdate ResourceStridedSliceAssign ScatterAdd ScatterUpdate VarHandleOp Variable",
            "VariableShape VariableV2 VarIsInitializedOp",
            # Random numbers, which layers such as dropout hold even where they do not use them.
            "Multinomial NonDeterministicInts ParameterizedTruncatedNormal RandomGamma RandomShuffle",
            "RandomStandardNormal RandomUniform RandomUniformInt RngReadAndSkip RngSkip StatefulStandardNormalV2",
            "StatefulTruncatedNormal StatefulUniform StatefulUniformInt StatelessMultinomial StatelessRandomGammaV2",
            "StatelessRandomGammaV3 StatelessRandomGetAlg StatelessRandomGetKeyCounter",
            "StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomUniform",
            "StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2",
            "StatelessSampleDistortedBoundingBox StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2",
            "TruncatedNormal",
            # Gradients and steps of optimizers, which are left in graphs that were exported from a training.
            "ApplyAdadelta ApplyAdagrad ApplyAdam ApplyFtrl ApplyGradientDescent ApplyMomentum ApplyRMSProp",
            "AvgPool3DGrad AvgPoolGrad BiasAddGrad Conv2DBackpropFilter Conv3DBackpropFilterV2 CropAndResizeGradBoxes",
            "CropAndResizeGradImage DepthwiseConv2dNativeBackpropFilter DepthwiseConv2dNativeBackpropInput EluGrad",
            "FakeQuantWithMinMaxArgsGradient FakeQuantWithMinMaxVarsGradient",
            "FakeQuantWithMinMaxVarsPerChannelGradient FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3",
            "HistogramSummary ImageSummary InvGrad LeakyReluGrad LRNGrad MaxPool3DGrad MaxPoolGrad MaxPoolGradV2",
            "MaxPoolGradWithArgmax MergeSummary MirrorPadGrad ReciprocalGrad Relu6Grad ReluGrad ResizeBicubicGrad",
            "ResizeBilinearGrad ResizeNearestNeighborGrad ResourceApplyAdadelta ResourceApplyAdagrad",
            "ResourceApplyAdagradV2 ResourceApplyAdam ResourceApplyAdaMax ResourceApplyFtrl",
            "ResourceApplyGradientDescent ResourceApplyKerasMomentum ResourceApplyMomentum ResourceApplyRMSProp",
            "RsqrtGrad ScalarSummary ScaleAndTranslateGrad SeluGrad SigmoidGrad SoftplusGrad SoftsignGrad SqrtGrad",
            "StridedSliceGrad TanhGrad",
        ]
    ).split()
)
