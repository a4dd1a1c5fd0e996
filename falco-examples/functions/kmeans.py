def main(args):
    """The sums of the points of one part that are nearest to each centroid."""
    centroids = args["centroids"]
    sums = [[0.0] * len(centroid) for centroid in centroids]
    counts, cost = [0] * len(centroids), 0.0
    # The points are stored with the function: no call carries them.
    for point in args["points"][args["part"] :: args["parts"]]:
        distances = [sum((x - c) ** 2 for x, c in zip(point, centroid)) for centroid in centroids]
        cost += min(distances)
        nearest = distances.index(min(distances))
        counts[nearest] += 1
        sums[nearest] = [total + x for total, x in zip(sums[nearest], point)]
    return {"sums": sums, "counts": counts, "cost": cost}
